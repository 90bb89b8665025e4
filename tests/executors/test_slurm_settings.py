import configparser
import dataclasses
import re

import luigi
import pytest

from astra import config
from astra.errors import ConfigError
from astra.executors.dask import DaskSettings
from astra.executors.interface import Cause, Ended
from astra.executors.slurm_settings import SlurmSettings, memory_mb, time_min
from tests.conftest import PROJECT


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("", None),
        ("30", 30),
        ("1:30", 2),
        ("02:00:00", 120),
        ("1-12", 36 * 60),
        ("1-12:30", 36 * 60 + 30),
        ("2-0:0:1", 2881),
    ],
)
def test_time_limits_are_read_as_slurm_reads_them(text, minutes):
    assert time_min(text) == minutes


@pytest.mark.parametrize(("text", "megabytes"), [("", None), ("500", 500), ("4G", 4096), ("1t", 1024**2)])
def test_memory_is_read_as_slurm_reads_it(text, megabytes):
    assert memory_mb(text) == megabytes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"colour": "red"}, r"option 'colour' is unknown; known are"),
        ({"memory": "much"}, r"memory must be a number .* \[MB without\], found 'much'"),
        ({"time": "soon"}, r"time must be minutes.* found 'soon'"),
        ({"time": "0"}, r"time must be minutes"),
        ({"partition": "a b"}, r"partition must be a name.* found 'a b'"),
        ({"account": "--uid=0"}, r"account must be a name"),
        ({"constraint": "gpu;rm"}, r"constraint must be a name"),
        ({"cpus": 0}, r"cpus must be from 1"),
        ({"attempts": 0}, r"attempts must be from 1"),
        ({"memory": "4G", "max_memory": "1G"}, r"max_memory must not be less .* 1024 and 4096 \[MB\]"),
        ({"extra": "--array=1-9"}, r"extra must be options of sbatch"),
        ({"extra": "exclusive"}, r"extra must be options of sbatch"),
        ({"extra": "--arr=1-9"}, r"extra must be options of sbatch"),
        ({"extra": "--clusters=other"}, r"extra must be options of sbatch"),
        ({"array_size": 0}, r"array_size must be from 1"),
    ],
)
def test_what_cannot_be_asked_of_slurm_is_refused_in_a_sentence(options, words):
    with pytest.raises(ConfigError, match=words):
        SlurmSettings.of(options)


def test_options_become_arguments_of_sbatch():
    settings = SlurmSettings(
        partition="night",
        account="survey",
        time="2:00:00",
        memory="4G",
        cpus=2,
        extra="--exclusive\n--nice=5",
    )
    arguments = settings.arguments()
    assert {"--partition=night", "--account=survey", "--time=120", "--mem=4096M", "--cpus-per-task=2"} <= set(
        arguments
    )
    assert arguments[-2:] == ["--exclusive", "--nice=5"]
    assert "--signal=B:TERM@120" in arguments
    assert arguments.index("--no-requeue") < len(arguments) - 2  # extra may say otherwise


def test_a_short_job_is_not_asked_to_end_before_it_has_begun():
    assert not any(item.startswith("--signal") for item in SlurmSettings(time="5").arguments())


def test_memory_grows_up_to_its_largest_value():
    killed = Ended("killed", Cause.MEMORY, 9, memory_mb=400)
    second = SlurmSettings(max_memory="1000").after(killed)
    assert memory_mb(second.memory) == 800
    third = second.after(killed)
    assert memory_mb(third.memory) == 1000
    assert third.after(killed) is None


def test_time_grows_and_nothing_else_does():
    late = Ended("late", Cause.TIME, time_min=10)
    settings = SlurmSettings(time="10", memory="1G", time_factor=1.5)
    assert settings.after(late) == dataclasses.replace(settings, time="15")
    assert settings.after(Ended("cancelled")) == settings


def test_nothing_helps_what_would_end_in_the_same_way_again():
    settings = SlurmSettings()
    assert settings.after(Ended("its deadline is over", Cause.HOPELESS)) is None
    assert settings.after(Ended("preempted", Cause.PREEMPTED)) == settings


def test_what_nobody_knows_does_not_grow():
    settings = SlurmSettings()
    assert settings.after(Ended("killed", Cause.MEMORY)) == settings


@pytest.mark.parametrize(("name", "settings"), [("slurm", SlurmSettings), ("dask", DaskSettings)])
def test_the_section_declares_all_options_with_their_defaults(name, settings):
    declared = {key: item._default for key, item in getattr(config, name).get_params()}
    assert declared == {item.name: item.default for item in dataclasses.fields(settings)}


@pytest.fixture
def set_option():
    stored = luigi.configuration.get_config()
    sections = []

    def change(section, name, value):
        sections.append((section, name))
        stored.set(section, name, value)

    yield change
    for section, name in sections:
        stored.remove_option(section, name)


def test_a_family_has_options_of_its_own(set_option):
    set_option("slurm", "cpus", "2")
    set_option("slurm", "partition", "main")
    set_option("slurm:ProcessCcd", "cpus", "4")
    assert config.executor_options("slurm", "ProcessCcd") == {"cpus": 4, "partition": "main"}
    assert config.executor_options("slurm", "DiffIm") == {"cpus": 2, "partition": "main"}


def test_a_family_has_an_executor_of_its_own(set_option):
    set_option("astra", "executor", "slurm")
    set_option("executors", "Associate", "local")
    assert config.executor_name("ProcessCcd") == "slurm"
    assert config.executor_name("Associate") == "local"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("colour", "red", r"section \[slurm:DiffIm\] has no option 'colour'"),
        ("cpus", "many", r"option cpus of section \[slurm:DiffIm\] cannot be read, found 'many'"),
    ],
)
def test_a_wrong_option_is_named_with_its_section(set_option, name, value, words):
    set_option("slurm:DiffIm", name, value)
    with pytest.raises(ConfigError, match=words):
        config.executor_options("slurm", "DiffIm")


def test_resources_of_dask_are_numbers_by_name():
    assert DaskSettings(worker_resources="GPU=1,MEMORY=4e9").resources == {"GPU": 1.0, "MEMORY": 4e9}
    with pytest.raises(ConfigError, match=r"worker_resources must be NAME=NUMBER"):
        DaskSettings(worker_resources="GPU")


def test_the_page_on_clusters_names_every_option_and_shows_such_as_are_taken():
    text = (PROJECT / "docs" / "cluster.md").read_text()
    table = text.partition("| option of `[slurm]`")[2].partition("\n\n")[0]
    named = set(re.findall(r"`([a-z_]+)`", "".join(table.splitlines(keepends=True)[2:])))
    assert {item.name for item in dataclasses.fields(SlurmSettings)} <= named
    for block in re.findall(r"^```ini\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        shown = configparser.ConfigParser(inline_comment_prefixes="#")
        shown.read_string(block)
        for section in shown.sections():
            kind = {"slurm": SlurmSettings, "dask": DaskSettings}.get(section.partition(":")[0])
            if kind is not None:
                assert kind.of(dict(shown[section]))
