"""What the columns of the tables mean, for the reference of the database: lines ``name: meaning [unit]``.

Results of spectra have theirs in the models, and columns of Rubin's tables that alerts hold in their schema.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Column

# Columns that mean the same wherever they are.
_COMMON = """
pk: Key of the row.
instrument: Name of the camera.
visit: Id of the visit.
exposure: Id of the exposure, one shot of the telescope.
detector: Id of the detector (CCD).
visit_system: Number of the system of visits that the visit belongs to.
band: Band of the light, as in "r".
physical_filter: Name of the filter as the camera has it.
day_obs: Night of the observation as the camera counts it, as in 20181231.
seq_num: Number of the first exposure within the night.
task_id: Id of the task, as in `task`, that made the row.
task_pk: Key of the task in `task`.
run_pk: Key of the run in `run`; null if that was removed.
path: Path of the file; what lies below the root is named from there.
checksum: SHA-256 of the content, as hexadecimal text.
size: Size of the file [byte].
modified_ns: When the file was last changed, since 1970 [ns].
created: When the row was made (UTC).
host: Name of the computer.
pid: Id of the process there.
version: Version of astra.
started: When it began (UTC).
ended: When it ended (UTC); null while it runs.
begin_mjd_tai: Begin, MJD TAI [d].
end_mjd_tai: End, MJD TAI [d].
exposure_time_s: How long the shutter was open [s].
observation_reason: Why it was taken.
target_name: What the telescope was pointed at.
science_program: Programme that it was taken for.
azimuth: Azimuth of the telescope [deg].
zenith_angle: Distance from the zenith [deg].
n_dia_sources: Number of detections on differences.
n_new_objects: Number of DiaObjects that they began.
n_updated_objects: Number of DiaObjects known before that were detected.
n_forced_sources: Number of forced measurements.
n_injected: Number of injected sources.
n_found: Number of those that were found.
n_false: Number of detections of nothing injected or known.
n_false_new: Number of those that are not on the difference without injected sources.
row_index: Number of the row, from 0: of the spectrum in its file, or of its line or label.
product: Kind of the file, as in "apVisit".
kind: What it is.
apdb_replica_chunk: Begin of the chunk of the replica that the row belongs to, since 1970 [s].
diaObjectId: Id of the DiaObject.
diaSourceId: Id of the DiaSource.
midpointMjdTai: Middle of the exposure, MJD TAI [d].
validityStartMjdTai: When this version of the object became valid, MJD TAI [d].
timeProcessedMjdTai: When the row was made, MJD TAI [d].
pixelId: HTM pixel of level 20 of the position.
"""

_TABLES = {
    "run": """
        command: Command line.
        packages: Versions of the packages that it ran with, by name.
        configuration: Options in force.
        exit_status: Exit status of the command.
    """,
    "task_constants": """
        digest: SHA-256 of the text of the parameters.
        parameters: Parameters that all members of a batch have in common, by name.
    """,
    "task": """
        task_id: Family and hash of the significant parameters and of the version.
        family: Name of the task class.
        module: Module of the task class.
        parameters: Parameters of the task, of a member those that differ within its batch.
        constants_pk: Key of the other parameters in `task_constants`.
        status_code: 0 created, 1 done, 2 running, 30 failed, 40 died, 50 broken, 60 no input, 70 timed out.
        batch_size: Number of members of a batch; null for a single task or a member.
        started: When the last attempt began (UTC).
        modified: When the row was last changed (UTC).
        completed: When it was done (UTC).
        duration: How long the last attempt took [s].
        overhead: Part of that which the engine took [s].
    """,
    "task_attempt": """
        status_code: How it ended, as in `task`.
        duration: How long it took [s].
        exit_signal: Signal that ended the process.
        error_class: Name of the error's class.
        message: Message of the error.
        context: Numbers that the error names.
        traceback: Where the error was raised.
        log: Last lines of the log.
    """,
    "job": """
        executor: Name of the executor.
        submission: Name of the array, as the executor knows it.
        number: Number of the job in its array, from 0.
        external_id: Id that the executor gave it; null until that is known.
        owner: Id of the task for whose sake it runs.
        family: Name of the task class.
        module: Module of the task class.
        parameters: Parameters of the task that it runs.
        settings: What it asks of the executor: memory, time, partition and so on.
        attempt: Number of the attempt, from 1.
        status_code: How it is, as in `task`.
        message: What became of it, if it has failed.
        asked: Tasks that its task asked for while it ran, and waits for.
        folder: Folder of its script and log.
        submitter_pk: Key of the run that submitted it, in `run`.
        since: When the run that submitted it began: what was done after that counts as done in it (UTC).
    """,
    "batch_interface": """
        parent_task_pk: Key of the batch in `task`.
        position: Place of the member in the batch, from 0.
        child_task_pk: Key of the member in `task`.
    """,
    "task_dependency": """
        required_task_pk: Key of the task that it needed.
    """,
    "data_product": """
        kind: Name that the task gives to this output, as in "calexp".
        task_pk: Key of the task that wrote it.
    """,
    "file_version": "",
    "task_input": """
        task_pk: Key of the task that read the file.
        file_pk: Key of what it read in `file_version`.
    """,
    "task_metadata": """
        key: Name of the figure, as in "DiffIm:kernel.n_sources".
        value: The figure; its name says the unit.
    """,
    "batch_parameters": """
        digest: SHA-256 of the text of the values.
        n_values: Number of values.
        content: Their text (JSON), compressed by zlib.
    """,
    "exposure": """
        obs_id: Name of the exposure as the observatory has it.
        seq_num: Number of the exposure within the night.
        seq_start: Number of the first exposure of its series.
        seq_end: Number of the last exposure of its series.
        dark_time: How long charge was collected [s].
        observation_type: What was taken, as in "science" or "bias".
        group_name: Name that exposures of one visit share.
        tracking_ra: Right ascension of the pointing, ICRS [deg].
        tracking_dec: Declination of the pointing, ICRS [deg].
        sky_angle: Position angle of the camera on the sky [deg].
        can_see_sky: Whether light of the sky reached the camera.
    """,
    "raw": """
        region: Where on the sky the detector looked, as an encoded convex polygon.
    """,
    "raw_collection": """
        collection: Name of the collection.
    """,
    "visit_system": """
        visit_system: Number of the system.
        name: Name of the rule that groups exposures.
    """,
    "visit": """
        name: Name of the visit.
        region: Where on the sky the visit looked, as an encoded convex polygon.
        region_source: Name of the algorithm that made the regions.
    """,
    "visit_definition": "",
    "visit_system_membership": "",
    "visit_detector_region": """
        region: Where on the sky the detector looked, as an encoded convex polygon.
    """,
    "DiaObject": """
        validityEndMjdTai: When the next version took its place, MJD TAI; null for the current one [d].
    """,
    "DiaSource": """
        ssObjectReassocTimeMjdTai: When it was given to an object of the solar system, MJD TAI [d].
    """,
    "DiaForcedSource": "",
    "DiaObject_To_Object_Match": """
        objectId: Id of the object of the deep survey.
        dist: Distance between both [arcsec].
        lnP: Logarithm of the probability that they are one.
    """,
    "metadata": """
        name: Name of the property.
        value: Its value, as Rubin's client reads it.
    """,
    "ApdbReplicaChunks": """
        last_update_time: When the chunk was last changed (UTC).
        unique_id: Random id of the state of the chunk.
    """,
    "ApdbUpdateRecordChunks": """
        update_time_ns: When the change was made, since 1970 [ns].
        update_order: Place among the changes of that time.
        update_unique_id: Random id of the change.
        update_payload: What was changed, as JSON.
    """,
    "DiaObjectChunks": "",
    "DiaSourceChunks": "",
    "DiaForcedSourceChunks": "",
    "apdb_marker": """
        task_id: Id of the task, as in `task`, that associated the detector.
    """,
    "dia_object_statistics": """
        multiPeriod: Period of the periodogram of all bands together [d].
        multiPower: Its power, from 0 to 1.
        multiFap: Probability that noise alone has such a power.
        flags: Whether any detection has one of the general flags.
    """,
    "dia_object_sums": """
        bands: Bands in which the object was detected.
        sums: Running sums of its detections, as encoded numbers.
    """,
    "dia_forced_sums": """
        midpointMjdTai: Middle of the last exposure that is in the sums, MJD TAI [d].
        sums: Running sums of its forced measurements, as encoded numbers.
    """,
    "apdb_correction": """
        kind: What was done, as in "merge" or "withdraw".
        timeMjdTai: When it was asked for, MJD TAI [d].
        ra: Right ascension of what was corrected, ICRS [deg].
        dec: Declination of what was corrected, ICRS [deg].
        diaSourceId: Id of the detection concerned, if one is.
        diaObjectId: Id of the object concerned, if one is.
        visit: Visit of the measurement concerned, if one is.
        detector: Detector of the measurement concerned, if one is.
        target: Id of the object that took its place.
        previousDiaObjectId: Id of the DiaObject that the detection belonged to.
        previousSsObjectId: Id of the object of the solar system that the detection belonged to.
        by_merge: Whether it is part of a merger of two objects.
    """,
    "calibration": """
        kind: Kind of the calibration, as in "bias" or "flat".
        physical_filter: Name of the filter; empty where it does not matter.
        begin_mjd_tai: Begin of the validity, MJD TAI; null where it is open [d].
        end_mjd_tai: End of the validity, MJD TAI; null where it is open [d].
        statistics: Figures of quality, by name.
    """,
    "template": """
        collection: Name of the collection that it was ingested under; empty if it was built.
        tile_order: HEALPix order of the tiles.
        pixel_scale_arcsec: Size of a pixel [arcsec].
        tile: Number of the tile.
        source: File that it was made of; empty if it was built.
        n_inputs: Number of calibrated exposures in it.
        coverage: Fraction of the tile's pixels with data.
        fwhm_arcsec: Width (FWHM) of its PSF [arcsec].
    """,
    "template_input": """
        template_pk: Key of the template in `template`.
        used: Whether it was used.
        weight: Its weight in the sum.
        fwhm_arcsec: Width (FWHM) of its PSF [arcsec].
        reason: Why it was not used; empty if it was.
    """,
    "search_depth": """
        visit: Id of the visit; null for a night.
        detector: Id of the detector; null for a whole visit or night.
        day_obs: Night of the observation; null for a detector or visit.
        mag50: AB magnitude at which half as many are found as of bright sources [mag].
        mag50_err: Error of mag50 [mag].
        mag90: AB magnitude at which nine tenths as many are found as of bright sources [mag].
        plateau: Completeness of bright sources.
        width_mag: Sigma of the cumulative Gaussian that the completeness falls by [mag].
    """,
    "efficiency": """
        search_pk: Key of the search in `search_depth`.
        quantity: What the bin is of, signal to noise or magnitude.
        low: Lower edge of the bin; of magnitudes [mag].
        high: Upper edge of the bin, null for the open one; of magnitudes [mag].
        completeness: Fraction of the injected sources that was found.
        completeness_low: Lower end of its confidence interval.
        completeness_high: Upper end of its confidence interval.
        flux_bias: Mean of the relative error of the flux.
        flux_bias_err: Error of flux_bias.
        flux_pull_median: Median of the errors of fluxes in units of their uncertainties.
        flux_pull_sigma: Scatter of the errors of fluxes in units of their uncertainties.
        position_error_pixel: Typical error of the position [pixel].
        position_pull_sigma: Scatter of the errors of positions in units of their uncertainties.
    """,
    "association_footprint": """
        midpoint_mjd_tai: Middle of the exposure, MJD TAI [d].
        dec_min: Lowest declination [deg].
        dec_max: Highest declination [deg].
        region: Where on the sky the detector looked, as an encoded convex polygon.
    """,
    "night_summary": """
        n_visits: Number of visits of the night.
        n_detectors: Number of detectors of all of them.
        n_done: Number of detectors that were done.
        n_failed: Number of detectors that were not.
        n_alerts: Number of alerts written.
        latency_median_s: Median time from the shutter's close to the association [s].
        latency_p95_s: 95th percentile of that time [s].
        latency_max_s: Longest such time [s].
        updated: When the row was last changed (UTC).
    """,
    "alert_outbox": """
        sink: Name of the sink.
        partition_key: Id whose alerts are sent in order: diaObjectId, or diaSourceId without an object.
        path: Path of the file that holds the packet.
        digest: SHA-256 of what is sent.
        size: Size of what is sent [byte].
        status_code: 0 pending, 1 sent, 30 failed, 50 refused.
        n_attempts: Number of attempts to send it.
        error: Why the last one failed.
        sentMjdTai: When it was sent, MJD TAI [d].
    """,
    "alert_timing": """
        shutterCloseMjdTai: When the shutter closed, MJD TAI [d].
        associatedMjdTai: When the detection was associated, MJD TAI [d].
        writtenMjdTai: When the alert was written, MJD TAI [d].
    """,
    "line_strength": "line: Name of the line.",
    "radial_velocity": "template: Name of the template that fits best.",
    "spectral_classification": "class_name: Name of the class that fits best.",
    "stellar_label": 'label: Name of the label, as in "teff".',
}

# Columns that there are for each band.
_OF_BANDS = """
psfFluxPercentile(..): Percentile $1 of psfFlux in BAND [nJy].
psfFluxChi2: Chi2 of psfFlux in BAND about its weighted mean.
psfFluxMAD: Median of the distances of psfFlux in BAND from its median [nJy].
psfFluxSkew: Skewness of psfFlux in BAND.
psfFluxStetsonJ: Stetson's index J of psfFlux in BAND.
psfFluxLinearSlope: Slope of the line through psfFlux in BAND [nJy/d].
psfFluxLinearIntercept: Flux of that line at its time zero [nJy].
scienceFluxSigma: Scatter of scienceFlux in BAND [nJy].
period: Period of the periodogram in BAND [d].
power: Its power, from 0 to 1.
multiAmp: Amplitude in BAND at the period of all bands [nJy].
multiPhase: Phase in BAND at that period, in periods.
"""


def _lines(block: str) -> dict[str, str]:
    return dict(line.strip().split(": ", 1) for line in block.splitlines() if line.strip())


# Tables that have no class, whose docstring would say it.
OF_TABLES = _lines("""
    DiaObject: A version of an object of variable or moving light, as Rubin's APDB has it.
    DiaSource: A detection on a difference image, as Rubin's APDB has it.
    DiaForcedSource: A flux measured at the place of an object, as Rubin's APDB has it.
    DiaObject_To_Object_Match: Pairs of DiaObjects and objects of the deep survey, as Rubin's APDB has it.
    metadata: Properties of the APDB that Rubin's client looks for.
    ApdbReplicaChunks: Chunks of the replica, by which others copy the APDB.
    ApdbUpdateRecordChunks: Changes of rows that had been copied before.
    DiaObjectChunks: The chunk of each version of an object.
    DiaSourceChunks: The chunk of each detection.
    DiaForcedSourceChunks: The chunk of each forced measurement.
    apdb_marker: A detector of a visit that has been associated, in the transaction of its rows.
    dia_object_statistics: Statistics of a version of an object that DiaObject has no column for.
    dia_object_sums: Sums of the detections of an object, from which its next version is made.
    dia_forced_sums: Sums of the forced measurements of an object, from which its next version is made.
    apdb_correction: A correction that was asked for, so that it outlasts a further run.
""")
COMMON = _lines(_COMMON)
TABLES = {table: _lines(block) for table, block in _TABLES.items()}
OF_BANDS = _lines(_OF_BANDS)


def column_meaning(column: Column[Any], of_alerts: str | None = None) -> str | None:
    """Return what a column means, its unit in brackets at the end; None if nothing is known of it.

    ``of_alerts`` is what the schema of alerts says of it; what the tables here say comes first.
    """
    own = TABLES.get(column.table.name, {}).get(column.name)
    if own is not None or of_alerts:
        return own or of_alerts
    if column.info.get("description"):
        unit = column.info["unit"]
        return f"{column.info['description']}{f' [{unit}]' if unit else ''}."
    for pattern, meaning in OF_BANDS.items():
        if found := re.fullmatch(f"([ugrizy])_{pattern}", column.name):
            text = meaning.replace("BAND", found[1])
            return text.replace("$1", found[2]) if "$1" in text else text
    return COMMON.get(column.name)
