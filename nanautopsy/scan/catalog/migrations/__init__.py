"""How a catalog of any older version becomes one of this version: Alembic's scripts.

To change the schema: change ``tables.py``, add ``versions/v000N_what.py`` whose ``down_revision``
is the newest, and set ``schema.NEWEST``. The tests compare the migrated tables with ``tables.py``.
"""
