"""An object store of the tests' own that speaks S3: moto's server."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

_BUCKET = "team"


@dataclass(frozen=True)
class Bucket:
    """A bucket and how processes reach it."""

    client: Any
    """boto3's."""
    environment: dict[str, str]
    """Of a process that is to find it: botocore reads these."""
    read: set[str] = field(default_factory=set)
    """Keys that somebody got since it was cleared."""
    name: str = _BUCKET

    def url(self, key: str) -> str:
        """``s3://...``."""
        return f"s3://{self.name}/{key}"

    def put(self, folder: Path, prefix: str) -> None:
        """Every file below a folder."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.write(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def write(self, key: str, content: bytes, **about: str) -> None:
        """One object."""
        self.client.put_object(Bucket=self.name, Key=key, Body=content, **about)


class _Requests(logging.Handler):
    """Notes which objects the server's log tells of."""

    def __init__(self, keys: set[str]) -> None:
        super().__init__()
        self._keys = keys

    def emit(self, record: logging.LogRecord) -> None:
        match = re.search(rf"GET /{_BUCKET}/([^?\s]*) ", record.getMessage())
        if match:
            self._keys.add(unquote(match[1]))


@contextmanager
def start() -> Iterator[Bucket]:
    """A server in a thread, with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    read: set[str] = set()
    log, requests = logging.getLogger("werkzeug"), _Requests(read)
    log.setLevel(logging.INFO)
    log.addHandler(requests)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        keys = {"aws_access_key_id": "tester", "aws_secret_access_key": "none"}
        client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys)
        client.create_bucket(Bucket=_BUCKET)
        environment = {name.upper(): value for name, value in keys.items()}
        environment |= {"AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "us-east-1"}
        yield Bucket(client, environment, read)
    finally:
        server.stop()
        log.removeHandler(requests)
