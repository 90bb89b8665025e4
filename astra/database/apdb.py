"""Reading and writing the Alert Production Database.

Every function works on the connection, and so in the transaction, that it is given, and never commits. What
one visit and detector wrote is told by its row of ``apdb_marker``; it can be withdrawn as a whole, after
which the tables are as if it had not been processed. The modules behind this one: ``apdb_store`` writes
visits, ``apdb_versions`` the versions of their objects, ``apdb_replica`` the chunks for those that copy the
database, ``apdb_updates`` what is corrected later, ``apdb_corrections`` keeps that when
visits are stored again, ``apdb_history`` tells those who copy the database of it, and ``apdb_reads`` reads.
"""

from astra.database.apdb_corrections import make_again, take_back_in
from astra.database.apdb_history import Snapshot, clear_remains, follow, is_there, take_snapshot
from astra.database.apdb_reads import (
    FORCED_COLUMNS,
    OBJECT_COLUMNS,
    SOURCE_COLUMNS,
    AlertRows,
    RegionRows,
    load_alert_rows,
    load_dia_objects,
    load_forced,
    load_sources,
    read_region,
)
from astra.database.apdb_rows import Marker, load_marker, lock
from astra.database.apdb_store import delete_orphans, remove_visit, store_visit, withdraw_visit
from astra.database.apdb_updates import (
    close_validity,
    find_duplicate_objects,
    merge_objects,
    reassign_to_dia_objects,
    reassign_to_ss_objects,
    withdraw_forced_sources,
    withdraw_sources,
)
from astra.database.apdb_versions import objects_with, remake_statistics
from astra.database.arrays import table_dtype

__all__ = [
    "FORCED_COLUMNS",
    "OBJECT_COLUMNS",
    "SOURCE_COLUMNS",
    "AlertRows",
    "Marker",
    "RegionRows",
    "Snapshot",
    "clear_remains",
    "close_validity",
    "delete_orphans",
    "find_duplicate_objects",
    "follow",
    "is_there",
    "load_alert_rows",
    "load_dia_objects",
    "load_forced",
    "load_marker",
    "load_sources",
    "lock",
    "make_again",
    "merge_objects",
    "objects_with",
    "read_region",
    "reassign_to_dia_objects",
    "reassign_to_ss_objects",
    "remake_statistics",
    "remove_visit",
    "store_visit",
    "table_dtype",
    "take_back_in",
    "take_snapshot",
    "withdraw_forced_sources",
    "withdraw_sources",
    "withdraw_visit",
]
