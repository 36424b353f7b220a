"""Payloads assembled by hand: each inert, each reported; ordinary checkpoints raise no alarm."""

from __future__ import annotations

import functools
import io
import logging
import pickle
import random
import signal
import sys
import types
import uuid
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reading import problems_of, read_file

from nanautopsy.checkpoints.data_file import MemoryFile
from nanautopsy.checkpoints.pickle_danger import dangers, is_dangerous
from nanautopsy.checkpoints.pickle_data import Global, interpret
from nanautopsy.checkpoints.torch_file import READER
from nanautopsy.checkpoints.torch_load import load_torch

FIXTURES = Path(__file__).parents[1] / "fixtures" / "torch"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def call(module: str, name: str, *args: str, protocol: int = 2) -> bytes:
    """A pickle whose object is ``module.name(*args)``."""
    if protocol >= 4:
        function = text(module) + text(name) + b"\x93"
    else:
        function = f"c{module}\n{name}\n".encode()
    return b"\x80" + bytes([protocol]) + function + b"(" + b"".join(map(text, args)) + b"tR."


def said(data: bytes) -> list[str]:
    """What a file of these bytes is said to do."""
    loaded = load_torch(MemoryFile("x.pkl", data))
    return [what for what, _ in dangers([*loaded.pickles, *loaded.embedded])]


PAYLOADS = """
os.system posix.system nt.system os.popen os.execv subprocess.Popen subprocess.run
subprocess.check_output _posixsubprocess.fork_exec pty.spawn commands.getoutput
builtins.eval builtins.exec builtins.compile builtins.open builtins.__import__
builtins.breakpoint builtins.globals __builtin__.eval __builtin__.exec __builtin__.execfile
__builtin__.apply __builtin__.file __builtin__.compile
runpy._run_code runpy.run_path code.InteractiveInterpreter.runcode code.interact
importlib.import_module importlib._bootstrap._load pkgutil.resolve_name zipimport.zipimporter
ctypes.CDLL ctypes.cdll.LoadLibrary _ctypes.dlopen socket.create_connection socket.socket
ssl.get_server_certificate urllib.request.urlopen httplib.HTTPSConnection
http.client.HTTPConnection requests.api.get aiohttp.client.ClientSession
asyncio.unix_events._UnixSubprocessTransport._start webbrowser.open ftplib.FTP smtplib.SMTP
imaplib.IMAP4_stream telnetlib.Telnet xmlrpc.client.ServerProxy
pip.main pip._internal.main ensurepip._run_pip venv.create distutils.file_util.write_file
cProfile.run cProfile.runctx profile.run profile.Profile.runctx pdb.run bdb.Bdb.run timeit.timeit
trace.Trace.run trace.Trace.runctx doctest.debug_script pydoc.pipepager pydoc.locate
test.support.script_helper.assert_python_ok uuid._get_command_stdout
_osx_support._read_output _aix_support._read_cmd_output _pyrepl.pager.pipe_pager
idlelib.autocomplete.AutoComplete.get_entity idlelib.calltip.get_entity
idlelib.debugobj.ObjectTreeItem.SetText idlelib.pyshell.ModifiedInterpreter.runcode
idlelib.run.Executive.runcode lib2to3.pgen2.grammar.Grammar.loads
lib2to3.pgen2.pgen.ParserGenerator.make_label
operator.attrgetter operator.methodcaller _operator.attrgetter _operator.methodcaller
functools.reduce shutil.rmtree tempfile.mkstemp glob.glob fileinput.input linecache.getlines
sqlite3.connect shelve.open zipfile.ZipFile tarfile.open logging.FileHandler
logging.config.dictConfig _io.FileIO io.open codecs.open pathlib.Path.write_text
pathlib.PosixPath.unlink threading.Thread _thread.start_new_thread signal.signal
multiprocessing.util.spawnv_passfds multiprocessing.context.Process sys.exit sys.settrace
atexit.register gc.get_objects platform.popen platform._syscmd_file mailcap.findmatch
pickle.loads _pickle.loads cPickle.loads marshal.loads dill.loads cloudpickle.loads
types.CodeType types.FunctionType cloudpickle.cloudpickle._make_function
cloudpickle.cloudpickle.subimport dill._dill._create_function
numpy.f2py.crackfortran.getlincoef numpy.testing._private.utils.runstring numpy.load
numpy.ctypeslib.load_library numpy.fromfile pandas.read_pickle pandas.eval joblib.load
torch.load torch.serialization.load torch.hub.load torch.jit.load
torch.jit.unsupported_tensor_ops.execWrapper torch._inductor.codecache.compile_file
torch._dynamo.guards.GuardBuilder.get torch.utils.collect_env.run
torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression
torch.fx.graph_module.reduce_graph_module torch.utils.bottleneck.__main__.run_cprofile
torch.utils._config_module.ConfigModule.load_config torch.utils.cpp_extension.load_inline
torch.utils.data.datapipes.utils.decoder.basichandlers torch.package.PackageImporter
torch.distributed.rpc.rpc_sync torch.ops.load_library torch.storage.UntypedStorage.from_file
someones.library.execWrapper numpy.os.system torch.serialization.os.system
""".split()


def split(path: str) -> tuple[str, str]:
    """Module and name; classes and dotted tails belong to the name."""
    parts = path.split(".")
    name = next(
        (i for i in range(1, len(parts)) if parts[i][0].isupper() or parts[i] in ("os", "cdll")),
        len(parts) - 1,
    )
    return ".".join(parts[:name]), ".".join(parts[name:])


@pytest.mark.parametrize("path", PAYLOADS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_payloads_are_named(path: str, protocol: int) -> None:
    (what,) = said(call(*split(path), "echo pwned", protocol=protocol))
    assert path in what
    assert "tries to call" in what or "program code" in what


def test_the_arguments_are_shown_shortened() -> None:
    assert said(call("os", "system", "id")) == ["this file tries to call os.system('id')"]
    (long,) = said(call("os", "system", "x" * 5000))
    assert len(long) < 120
    (binary,) = said(call("os", "system", "a\nb\x1b[31m"))
    assert binary.isprintable()


@pytest.mark.parametrize(
    "data",
    [
        # A broken tail behind the payload; the file is no pickle to its end.
        call("os", "system", "id")[:-1] + b"\xff\xff",
        call("os", "system", "id")[:-1] + b"0X\xff\xff\xff\x7f",
        # The result is thrown away, and an innocent object returned.
        call("os", "system", "id")[:-1] + b"0K\x01.",
        # The name comes out of the memo, out of order, through a list, or twice removed.
        b"\x80\x04"
        + text("system")
        + b"q\x05"
        + b"0"
        + text("os")
        + b"h\x05\x93"
        + text("id")
        + b"\x85R.",
        b"\x80\x04"
        + text("os")
        + b"\x94"
        + text("system")
        + b"\x940"
        + b"0h\x00h\x01\x93"
        + text("id")
        + b"\x85R.",
        b"\x80\x02cos\nsystem\nq\x00" + b"0" + b"h\x00" + text("id") + b"\x85R.",
        # Old opcodes.
        b"(S'id'\nios\nsystem\n.",
        b"(cos\nsystem\nS'id'\no.",
        b"cos\nsystem\n(S'id'\ntR.",
        # Through NEWOBJ, NEWOBJ_EX and copyreg.
        b"\x80\x04" + text("os") + text("system") + b"\x93" + text("id") + b"\x85\x81.",
        b"\x80\x04" + text("os") + text("system") + b"\x93" + text("id") + b"\x85}\x92.",
        b"\x80\x02ccopyreg\n__newobj__\ncos\nsystem\n" + text("id") + b"\x86R.",
        # Handed to another function, which is harmless by itself.
        b"\x80\x02cbuiltins\nmap\ncos\nsystem\n]" + text("id") + b"a\x86R.",
        b"\x80\x02cfunctools\npartial\ncos\nsystem\n" + text("id") + b"\x86R.",
        # Looked up on something else.
        b"\x80\x02cbuiltins\ngetattr\ncos\npath\n" + text("os") + b"\x86R.",
        b"\x80\x02cbuiltins\ngetattr\ncnumpy\nos\n"
        + text("system")
        + b"\x86R"
        + text("id")
        + b"\x85R.",
        b"\x80\x04" + text("collections") + text("OrderedDict.__init__.__globals__") + b"\x93.",
        b"\x80\x02cbuiltins\ngetattr\nK\x01"
        + text("__class__")
        + b"\x86R0"
        + b"cbuiltins\ngetattr\nK\x01"
        + text("__subclasses__")
        + b"\x86R.",
        # A name that is no text.
        b"\x80\x04cos\nsystem\n" + text("x") + b"\x93.",
        # Attributes of a module or class replaced.
        b"\x80\x02ctorch\nload\n}" + text("a") + b"cos\nsystem\nsb.",
        # Under a mark that is dropped.
        b"\x80\x02(cos\nsystem\n" + text("id") + b"\x85R1N.",
        # A long line first.
        b"S'" + b"a" * 100_000 + b"'\n0" + call("os", "system", "id"),
        # Behind an innocent pickle.
        pickle.dumps({"a": 1}) + call("os", "system", "id"),
    ],
)
def test_tricks_are_seen_through(data: bytes) -> None:
    assert any("os" in what or "__" in what for what in said(data))


def test_what_is_called_may_itself_be_computed() -> None:
    data = b"\x80\x02cmine\nmake\n)R" + text("id") + b"\x85R."
    (what,) = said(data)
    assert "what mine.make(...) returns" in what


def test_extension_codes_are_inert() -> None:
    assert interpret(MemoryFile("x", b"\x80\x02\x82\x01.")).value == Global(
        "copyreg._extension_registry", "1"
    )


@pytest.mark.parametrize(
    "loader", [("torch.storage", "_load_from_bytes"), ("pickle", "loads"), ("_pickle", "loads")]
)
def test_pickles_inside_pickles(loader: tuple[str, str]) -> None:
    inner = call("os", "system", "id")
    for _ in range(3):
        inner = (
            b"\x80\x03c"
            + f"{loader[0]}\n{loader[1]}\n".encode()
            + b"B"
            + len(inner).to_bytes(4, "little")
            + inner
            + b"\x85R."
        )
    assert any("os.system('id')" in what for what in said(inner))
    large = b"\x80\x03" + b"B" + (5000).to_bytes(4, "little") + b"x" * 5000 + b"0"
    assert any("os.system('id')" in what for what in said(large + inner[2:]))


def test_pickles_nested_too_deep_end() -> None:
    inner = call("os", "system", "id")
    for _ in range(30):
        inner = b"\x80\x03cpickle\nloads\nB" + len(inner).to_bytes(4, "little") + inner + b"\x85R."
    loaded = load_torch(MemoryFile("x", inner))
    assert any("deep" in text for text, _ in loaded.problems)


def test_nothing_is_imported_or_called() -> None:
    """Python's own audit events say what happens: no import, no program, no file, no lookup."""
    heard: list[str] = []
    listening = [False]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if listening[0] and event.split(".")[0] in ("import", "os", "subprocess", "exec", "pickle"):
            heard.append(event)

    sys.addaudithook(hook)
    said(PAYLOAD)  # what the readers themselves import lazily comes first
    for path in PAYLOADS:
        data = call(*split(path), "echo pwned")
        listening[0] = True
        said(data)
        listening[0] = False
    assert heard == []


# --- archives -------------------------------------------------------------------------------------


def archive(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, data in members:
            target.writestr(name, data)
    return buffer.getvalue()


PAYLOAD = call("os", "system", "id")
HARMLESS = pickle.dumps({"a": 1}, 2)


@pytest.mark.parametrize(
    "members",
    [
        [("archive/data.pkl", PAYLOAD)],
        [("data.pkl", PAYLOAD)],
        [("x.pkl", PAYLOAD)],
        [("a/data.pkl", HARMLESS), ("a/constants.pkl", PAYLOAD)],
        [("a/data.pkl", HARMLESS), ("b/data.pkl", PAYLOAD)],
        [("a/data.pkl", HARMLESS), ("a/hidden", PAYLOAD)],
        [("a/data.pkl", HARMLESS), ("../x.bin", PAYLOAD)],
    ],
)
def test_payloads_in_archives(members: list[tuple[str, bytes]], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(archive(members))
    assert any("os.system('id')" in p.text for p in problems_of(read_file(READER, path)))


def test_a_payload_behind_a_second_member_of_its_name() -> None:
    with pytest.warns(UserWarning):
        data = archive([("a/data.pkl", PAYLOAD), ("a/data.pkl", HARMLESS)])
    assert any("os.system" in what for what in said(data))


@pytest.mark.parametrize("flags", [0x1, 0x20, 0x40])
def test_flags_that_make_zip_libraries_refuse(flags: int) -> None:
    data = bytearray(archive([("a/data.pkl", PAYLOAD)]))
    data[6] |= flags
    data[data.index(b"PK\x01\x02") + 8] |= flags
    assert any("os.system" in what for what in said(bytes(data)))


def test_checksums_and_names_that_disagree() -> None:
    data = archive([("a/data.pkl", PAYLOAD)])
    wrong_crc = bytearray(data)
    wrong_crc[14:18] = b"\x00\x00\x00\x00"
    directory = data.index(b"PK\x01\x02")
    wrong_name = data[:directory] + data[directory:].replace(b"a/data.pkl", b"a/data.txt")
    for damaged in (bytes(wrong_crc), wrong_name.replace(b"data.txt", b"data.pkl")):
        assert any("os.system" in what for what in said(damaged))


def test_tensors_beside_a_payload_are_read(tmp_path: Path) -> None:
    data = (FIXTURES / "legacy.pt").read_bytes()
    payload = PAYLOAD[2:-1] + b"0"
    at = data.index(b"\x80\x02", data.index(b"type_sizes")) + 2
    path = tmp_path / "legacy.pt"
    path.write_bytes(data[:at] + payload + data[at:])
    records = read_file(READER, path)
    assert any("os.system('id')" in problem.text for problem in problems_of(records))
    assert len(records) - len(problems_of(records)) == 1


def test_a_magic_number_that_is_computed() -> None:
    data = call("__builtin__", "eval", "0x1950A86A20F9469CFC6C") + call("os", "system", "id")
    found = said(data)
    assert any("eval" in what for what in found)
    assert any("os.system" in what for what in found)


def test_the_place_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(HARMLESS + PAYLOAD)
    (problem,) = [p for p in problems_of(read_file(READER, path)) if "os.system" in p.text]
    assert problem.source.offset is not None
    assert problem.source.offset > len(HARMLESS)
    assert "nothing was executed" in problem.text


# --- no alarm -------------------------------------------------------------------------------------


class Outer:
    class Inner:
        pass


def test_ordinary_objects_raise_no_alarm() -> None:
    things: list[Any] = [
        logging.getLogger("a.b"),
        signal.SIGTERM,
        uuid.UUID(int=5),
        functools.partial(np.linalg.norm, axis=0),
        types.SimpleNamespace(a=1),
        np.random.default_rng(3),
        np.random.RandomState(3),
        np.dtype("f4"),
        np.float32(1.5),
        random.Random(5),
        Path("a/b"),
        Outer.Inner(),
        Outer.Inner,
        len,
        int,
        ValueError("x"),
        io.BytesIO(b"abc"),
        range(3),
        slice(1, 2),
    ]
    for protocol in range(2, 6):
        assert said(pickle.dumps(things, protocol)) == []


@pytest.mark.parametrize("path", sorted(p for p in FIXTURES.rglob("*") if p.suffix[:2] != ".j"))
def test_real_checkpoints_raise_no_alarm(path: Path) -> None:
    if path.is_dir() or path.suffix == ".py":
        return
    assert said(path.read_bytes()) == []


@pytest.mark.parametrize(
    "path",
    """
    argparse.Namespace collections.OrderedDict torch._utils._rebuild_tensor_v2 torch.device
    transformers.trainer_utils.SchedulerType accelerate.state.PartialState
    megatron.core.enums.ModelType signal.Signals omegaconf.dictconfig.DictConfig
    models.yolo.Model ultralytics.nn.tasks.DetectionModel models.common.Conv
    sklearn.linear_model._logistic.LogisticRegression numpy.core.multiarray._reconstruct
    torch.distributed._shard.sharded_tensor.api.ShardedTensor test.models.Net code.train.Config
    deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler fairseq.dataclass.configs.FairseqConfig
    torch.nn.modules.linear.Linear pathlib.PosixPath pathlib._local.PosixPath os.PathLike
    torch.jit._pickle.build_intlist torch._dynamo.eval_frame.OptimizedModule
    urllib.parse.ParseResult
    """.split(),
)
def test_names_that_checkpoints_hold_are_quiet(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert not is_dangerous(Global(module, name))
