"""Packets with little in them, and files of such, for tests of where alerts go."""

from astra.alerts.files import write_alerts
from astra.alerts.packets import make_alert
from astra.alerts.schemas import load_record_schema

VALUES = {"int": 3, "long": 5, "float": 0.25, "double": 60000.25, "boolean": False, "string": "r"}


def required(record, **values):
    """A record in which only what must be is filled."""
    fields = load_record_schema(record)["fields"]
    return {
        field["name"]: None if isinstance(field["type"], list) else VALUES[field["type"]] for field in fields
    } | values


def packet(number, object_id=None, *, visit=12, detector=3, mjd=60000.25, flux=1000.0, **changes):
    """An alert, by its diaSourceId."""
    source = required(
        "diaSource",
        diaSourceId=number,
        diaObjectId=object_id,
        visit=visit,
        detector=detector,
        midpointMjdTai=mjd,
        timeProcessedMjdTai=mjd + 60 / 86400,
        exposureTime=30.0,
        psfFlux=flux,
        psfFluxErr=50.0,
        band="r",
        ra=149.5,
        dec=2.25,
    )
    dia_object = required("diaObject", diaObjectId=object_id) if object_id else None
    return make_alert(source | changes, dia_object=dia_object)


def write(folder, packets, visit=12, detector=3):
    """Write packets where those of a visit and detector lie."""
    path = folder / "alerts" / f"{visit}_{detector}.avro"
    write_alerts(path, packets)
    return path
