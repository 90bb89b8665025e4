"""Limits of accounts and qualities of service that one job alone is too large for.

A job over a limit on what many jobs may have together waits for the others to end. Slurm does not say that it
waits for ever if it asks for more than that alone; ``scontrol show assoc_mgr`` tells the limits.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

# Reasons that name what many jobs have together: of a group, a user or an account.
GROUP_LIMIT = re.compile(r"Grp\w*Limit|Max\w+Per(?:User|Account)|AssocMaxJobsLimit|AssociationResourceLimit")
UNITS_MB = {"K": 1 / 1024, "M": 1.0, "": 1.0, "G": 1024.0, "T": 1024.0**2, "P": 1024.0**3}

_FIELD = re.compile(r"(?:^|\s)(\w+)=(\S*)")
_LIMIT = re.compile(r"([\w/:.-]+)=([\d.]+)([KMGTP]?)\(")  # what is not limited has an N
_AMOUNT = re.compile(r"([\w/:.-]+)=([\d.]+)([KMGTP]?)")
_NAME = re.compile(r"^[^(]*")
_TOGETHER = {
    "GrpTRES": "all jobs together",
    "MaxTRESPU": "the jobs of a user together",
    "MaxTRESPA": "the jobs of an account together",
}
_NONE_RUNS = ("MaxJobs", "GrpJobs", "MaxJobsPU", "MaxJobsPA")
_NONE_WAITS = ("MaxSubmitJobs", "GrpSubmitJobs", "MaxSubmitJobsPU", "MaxSubmitJobsPA")


@dataclass(frozen=True)
class Asked:
    """Whose limits a job is under, and what it asks for.

    Parameters
    ----------
    account, user, partition : str
        Empty if unknown.
    qos : tuple of str
        That of the job, and that of its partition.
    tres : dict
        What it asks for by Slurm's names of it, memory in [MB].
    """

    account: str = ""
    user: str = field(default_factory=getpass.getuser)
    partition: str = ""
    qos: tuple[str, ...] = ()
    tres: dict[str, float] = field(default_factory=dict)

    def with_qos_of(self, text: str) -> Asked:
        """Return it with the quality of service of its partition, of which ``scontrol`` prints a line."""
        found = dict(_FIELD.findall(text)).get("QoS", "N/A")
        return self if found in {"", "N/A"} else replace(self, qos=(*self.qos, found))


def parse_asked(text: str) -> Asked | None:
    """Read what the first job that waits asks for, of what ``scontrol --oneliner show job`` prints."""
    for line in text.splitlines():
        values = dict(_FIELD.findall(line))
        if values.get("JobState") == "PENDING":
            amounts = _AMOUNT.findall(values.get("ReqTRES") or values.get("TRES", ""))
            return Asked(
                values.get("Account", ""),
                _name(values.get("UserId", "")),
                values.get("Partition", ""),
                (values.get("QOS", ""),),
                {name: float(amount) * UNITS_MB[unit] for name, amount, unit in amounts},
            )
    return None


def exceeded_limit(text: str, asked: Asked) -> str | None:
    """Return which limit on many jobs one job alone exceeds, in words; None if there is none.

    Parameters
    ----------
    text : str
        What ``scontrol show assoc_mgr flags=assoc,qos`` prints.
    asked : Asked
        What the job asks for, and under whose limits it is.
    """
    for whose, record in _records(text, asked):
        for limit, of_whom in _TOGETHER.items():
            listed = ",".join(re.findall(rf"(?:^|\s){limit}=(\S+)", record))
            for name, amount, unit in _LIMIT.findall(listed):
                wanted, most = asked.tres.get(name, 0.0), float(amount) * UNITS_MB[unit]
                if wanted > most:
                    of_it = " MB" if name == "mem" else ""
                    has = f"the job asks for {name}={wanted:g}{of_it}"
                    return f"{has}, and {whose} has {name}={most:g}{of_it} for {of_whom}"
    return _zero(text, asked, _NONE_RUNS)


def no_job_allowed(text: str, asked: Asked) -> str | None:
    """Return where nobody may submit any job, in words; None if jobs may be submitted once there is room.

    Parameters are those of `exceeded_limit`; the account is the default one if it is not known.
    """
    account = asked.account or _default_account(text, asked.user)
    return _zero(text, replace(asked, account=account), _NONE_WAITS)


def _zero(text: str, asked: Asked, names: tuple[str, ...]) -> str | None:
    """Return which of some limits is 0, in words."""
    for whose, record in _records(text, asked):
        for name in names:
            if re.search(rf"(?:^|\s){name}=0\(", record):
                return f"{whose} has {name}=0"
    return None


def _records(text: str, asked: Asked) -> Iterator[tuple[str, str]]:
    """Yield what limits apply to, and their text: qualities of service, the user, accounts upwards."""
    accounts: dict[str, str] = {}
    users = []
    for record in re.split(r"^(?=ClusterName=|QOS=)", text, flags=re.MULTILINE):
        values = dict(_FIELD.findall(record.partition("\n")[0]))
        if _name(values.get("QOS", "")) in {name for name in asked.qos if name}:
            yield f"QOS {_name(values['QOS'])}", record
        elif not values.get("UserName") and "Account" in values:
            accounts[values["Account"]] = record
        elif _is_of(values, asked):
            users.append((f"user {asked.user} of account {asked.account}", record))
    yield from users
    account = asked.account
    while account in accounts:
        record = accounts.pop(account)
        yield f"account {account}", record
        account = _name(dict(_FIELD.findall(record)).get("ParentAccount", ""))


def _is_of(values: dict[str, str], asked: Asked) -> bool:
    """Say whether an association is that of the user, in any partition or in that of the job."""
    return (
        values.get("Account") == asked.account
        and _name(values.get("UserName", "")) == asked.user
        and values.get("Partition", "") in {"", asked.partition}
    )


def _default_account(text: str, user: str) -> str:
    for record in re.split(r"^(?=ClusterName=)", text, flags=re.MULTILINE):
        values: dict[str, str] = dict(_FIELD.findall(record))
        if _name(values.get("UserName", "")) == user and values.get("DefAssoc") == "Yes":
            return values.get("Account", "")
    return ""


def _name(text: str) -> str:
    """Return a name without the number behind it, as root(0)."""
    found = _NAME.match(text)
    return found[0] if found else ""
