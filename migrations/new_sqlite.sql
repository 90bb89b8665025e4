CREATE TABLE "ApdbReplicaChunks" (
    apdb_replica_chunk BIGINT NOT NULL,
    last_update_time TIMESTAMP NOT NULL,
    unique_id CHAR(32) NOT NULL,
    CONSTRAINT "pk_ApdbReplicaChunks" PRIMARY KEY (apdb_replica_chunk)
);

CREATE TABLE "ApdbUpdateRecordChunks" (
    apdb_replica_chunk BIGINT NOT NULL,
    update_time_ns BIGINT NOT NULL,
    update_order INTEGER NOT NULL,
    update_unique_id CHAR(32) NOT NULL,
    update_payload VARCHAR NOT NULL,
    CONSTRAINT "pk_ApdbUpdateRecordChunks" PRIMARY KEY (apdb_replica_chunk, update_time_ns, update_order, update_unique_id)
);

CREATE TABLE "DiaForcedSource" (
    "diaForcedSourceId" BIGINT NOT NULL,
    "diaObjectId" BIGINT NOT NULL,
    ra DOUBLE NOT NULL,
    dec DOUBLE NOT NULL,
    visit BIGINT NOT NULL,
    detector SMALLINT NOT NULL,
    "psfFlux" REAL,
    "psfFluxErr" REAL,
    "midpointMjdTai" DOUBLE NOT NULL,
    "scienceFlux" REAL,
    "scienceFluxErr" REAL,
    band CHAR(1),
    "timeProcessedMjdTai" DOUBLE NOT NULL,
    "timeWithdrawnMjdTai" DOUBLE,
    CONSTRAINT "pk_DiaForcedSource" PRIMARY KEY ("diaObjectId", visit, detector)
);

CREATE TABLE "DiaForcedSourceChunks" (
    apdb_replica_chunk BIGINT NOT NULL,
    "diaObjectId" BIGINT NOT NULL,
    visit BIGINT NOT NULL,
    detector SMALLINT NOT NULL,
    CONSTRAINT "pk_DiaForcedSourceChunks" PRIMARY KEY (visit, detector, "diaObjectId"),
    CONSTRAINT "DiaForcedSourceChunks_fk_DiaForcedSource" FOREIGN KEY("diaObjectId", visit, detector) REFERENCES "DiaForcedSource" ("diaObjectId", visit, detector) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT "DiaForcedSourceChunks_fk_ApdbReplicaChunks" FOREIGN KEY(apdb_replica_chunk) REFERENCES "ApdbReplicaChunks" (apdb_replica_chunk) ON DELETE CASCADE ON UPDATE CASCADE
)
    WITHOUT ROWID;

CREATE TABLE "DiaObject" (
    "diaObjectId" BIGINT NOT NULL,
    "validityStartMjdTai" DOUBLE NOT NULL,
    "validityEndMjdTai" DOUBLE,
    ra DOUBLE NOT NULL,
    "raErr" REAL,
    dec DOUBLE NOT NULL,
    "decErr" REAL,
    "ra_dec_Cov" REAL,
    "u_psfFluxMean" REAL,
    "u_psfFluxMeanErr" REAL,
    "u_psfFluxSigma" REAL,
    "u_psfFluxNdata" INTEGER NOT NULL,
    "u_fpFluxMean" REAL,
    "u_fpFluxMeanErr" REAL,
    "g_psfFluxMean" REAL,
    "g_psfFluxMeanErr" REAL,
    "g_psfFluxSigma" REAL,
    "g_psfFluxNdata" INTEGER NOT NULL,
    "g_fpFluxMean" REAL,
    "g_fpFluxMeanErr" REAL,
    "r_psfFluxMean" REAL,
    "r_psfFluxMeanErr" REAL,
    "r_psfFluxSigma" REAL,
    "r_psfFluxNdata" INTEGER NOT NULL,
    "r_fpFluxMean" REAL,
    "r_fpFluxMeanErr" REAL,
    "i_psfFluxMean" REAL,
    "i_psfFluxMeanErr" REAL,
    "i_psfFluxSigma" REAL,
    "i_psfFluxNdata" INTEGER NOT NULL,
    "i_fpFluxMean" REAL,
    "i_fpFluxMeanErr" REAL,
    "z_psfFluxMean" REAL,
    "z_psfFluxMeanErr" REAL,
    "z_psfFluxSigma" REAL,
    "z_psfFluxNdata" INTEGER NOT NULL,
    "z_fpFluxMean" REAL,
    "z_fpFluxMeanErr" REAL,
    "y_psfFluxMean" REAL,
    "y_psfFluxMeanErr" REAL,
    "y_psfFluxSigma" REAL,
    "y_psfFluxNdata" INTEGER NOT NULL,
    "y_fpFluxMean" REAL,
    "y_fpFluxMeanErr" REAL,
    "u_scienceFluxMean" REAL,
    "u_scienceFluxMeanErr" REAL,
    "g_scienceFluxMean" REAL,
    "g_scienceFluxMeanErr" REAL,
    "r_scienceFluxMean" REAL,
    "r_scienceFluxMeanErr" REAL,
    "i_scienceFluxMean" REAL,
    "i_scienceFluxMeanErr" REAL,
    "z_scienceFluxMean" REAL,
    "z_scienceFluxMeanErr" REAL,
    "y_scienceFluxMean" REAL,
    "y_scienceFluxMeanErr" REAL,
    "u_psfFluxMin" REAL,
    "u_psfFluxMax" REAL,
    "u_psfFluxMaxSlope" REAL,
    "u_psfFluxErrMean" REAL,
    "g_psfFluxMin" REAL,
    "g_psfFluxMax" REAL,
    "g_psfFluxMaxSlope" REAL,
    "g_psfFluxErrMean" REAL,
    "r_psfFluxMin" REAL,
    "r_psfFluxMax" REAL,
    "r_psfFluxMaxSlope" REAL,
    "r_psfFluxErrMean" REAL,
    "i_psfFluxMin" REAL,
    "i_psfFluxMax" REAL,
    "i_psfFluxMaxSlope" REAL,
    "i_psfFluxErrMean" REAL,
    "z_psfFluxMin" REAL,
    "z_psfFluxMax" REAL,
    "z_psfFluxMaxSlope" REAL,
    "z_psfFluxErrMean" REAL,
    "y_psfFluxMin" REAL,
    "y_psfFluxMax" REAL,
    "y_psfFluxMaxSlope" REAL,
    "y_psfFluxErrMean" REAL,
    "firstDiaSourceMjdTai" DOUBLE,
    "lastDiaSourceMjdTai" DOUBLE,
    "nDiaSources" INTEGER NOT NULL,
    "pixelId" BIGINT NOT NULL,
    CONSTRAINT "pk_DiaObject" PRIMARY KEY ("diaObjectId", "validityStartMjdTai")
);

CREATE TABLE "DiaObjectChunks" (
    apdb_replica_chunk BIGINT NOT NULL,
    "diaObjectId" BIGINT NOT NULL,
    "validityStartMjdTai" DOUBLE NOT NULL,
    CONSTRAINT "pk_DiaObjectChunks" PRIMARY KEY ("validityStartMjdTai", "diaObjectId"),
    CONSTRAINT "DiaObjectChunks_fk_DiaObject" FOREIGN KEY("diaObjectId", "validityStartMjdTai") REFERENCES "DiaObject" ("diaObjectId", "validityStartMjdTai") ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT "DiaObjectChunks_fk_ApdbReplicaChunks" FOREIGN KEY(apdb_replica_chunk) REFERENCES "ApdbReplicaChunks" (apdb_replica_chunk) ON DELETE CASCADE ON UPDATE CASCADE
)
    WITHOUT ROWID;

CREATE TABLE "DiaObject_To_Object_Match" (
    "diaObjectId" BIGINT NOT NULL,
    "objectId" BIGINT NOT NULL,
    dist REAL,
    "lnP" REAL
);

CREATE TABLE "DiaSource" (
    "diaSourceId" BIGINT NOT NULL,
    visit BIGINT NOT NULL,
    detector SMALLINT NOT NULL,
    "diaObjectId" BIGINT,
    "ssObjectId" BIGINT,
    "parentDiaSourceId" BIGINT,
    "ssObjectReassocTimeMjdTai" DOUBLE,
    "midpointMjdTai" DOUBLE NOT NULL,
    "exposureTime" REAL,
    ra DOUBLE NOT NULL,
    "raErr" REAL,
    dec DOUBLE NOT NULL,
    "decErr" REAL,
    "ra_dec_Cov" REAL,
    x REAL NOT NULL,
    "xErr" REAL,
    y REAL NOT NULL,
    "yErr" REAL,
    centroid_flag BOOLEAN,
    "apFlux" REAL,
    "apFluxErr" REAL,
    "apFlux_flag" BOOLEAN,
    "apFlux_flag_apertureTruncated" BOOLEAN,
    "isNegative" BOOLEAN,
    snr REAL,
    "psfFlux" REAL,
    "psfFluxErr" REAL,
    "psfLnL" REAL,
    "psfChi2" REAL,
    "psfNdata" INTEGER NOT NULL,
    "psfFlux_flag" BOOLEAN,
    "psfFlux_flag_edge" BOOLEAN,
    "psfFlux_flag_noGoodPixels" BOOLEAN,
    "trailFlux" REAL,
    "trailFluxErr" REAL,
    "trailRa" DOUBLE,
    "trailRaErr" REAL,
    "trailDec" DOUBLE,
    "trailDecErr" REAL,
    "trailLength" REAL,
    "trailLengthErr" REAL,
    "trailAngle" REAL,
    "trailAngleErr" REAL,
    "trailChi2" REAL,
    "trailNdata" INTEGER DEFAULT '0' NOT NULL,
    "trailAlgorithm" INTEGER,
    trail_flag_edge BOOLEAN,
    trail_flag BOOLEAN,
    "dipoleMeanFlux" REAL,
    "dipoleMeanFluxErr" REAL,
    "dipoleFluxDiff" REAL,
    "dipoleFluxDiffErr" REAL,
    "dipoleLength" REAL,
    "dipoleAngle" REAL,
    "dipoleChi2" REAL,
    "dipoleNdata" INTEGER NOT NULL,
    "scienceFlux" REAL,
    "scienceFluxErr" REAL,
    "forced_PsfFlux_flag" BOOLEAN,
    "forced_PsfFlux_flag_edge" BOOLEAN,
    "forced_PsfFlux_flag_noGoodPixels" BOOLEAN,
    "templateFlux" REAL,
    "templateFluxErr" REAL,
    ixx REAL,
    iyy REAL,
    ixy REAL,
    "ixxPSF" REAL,
    "iyyPSF" REAL,
    "ixyPSF" REAL,
    shape_flag BOOLEAN,
    shape_flag_no_pixels BOOLEAN,
    shape_flag_not_contained BOOLEAN,
    shape_flag_parent_source BOOLEAN,
    extendedness REAL,
    reliability REAL,
    "reliabilityVersion" VARCHAR(7),
    band CHAR(1),
    "isDipole" BOOLEAN,
    "dipoleFitAttempted" BOOLEAN,
    "timeProcessedMjdTai" DOUBLE NOT NULL,
    "timeWithdrawnMjdTai" DOUBLE,
    "bboxSize" INTEGER NOT NULL,
    "pixelFlags" BOOLEAN,
    "pixelFlags_bad" BOOLEAN,
    "pixelFlags_cr" BOOLEAN,
    "pixelFlags_crCenter" BOOLEAN,
    "pixelFlags_edge" BOOLEAN,
    "pixelFlags_nodata" BOOLEAN,
    "pixelFlags_nodataCenter" BOOLEAN,
    "pixelFlags_interpolated" BOOLEAN,
    "pixelFlags_interpolatedCenter" BOOLEAN,
    "pixelFlags_offimage" BOOLEAN,
    "pixelFlags_saturated" BOOLEAN,
    "pixelFlags_saturatedCenter" BOOLEAN,
    "pixelFlags_suspect" BOOLEAN,
    "pixelFlags_suspectCenter" BOOLEAN,
    "pixelFlags_streak" BOOLEAN,
    "pixelFlags_streakCenter" BOOLEAN,
    "pixelFlags_injected" BOOLEAN,
    "pixelFlags_injectedCenter" BOOLEAN,
    "pixelFlags_injected_template" BOOLEAN,
    "pixelFlags_injected_templateCenter" BOOLEAN,
    glint_trail BOOLEAN,
    "pixelId" BIGINT NOT NULL,
    CONSTRAINT "pk_DiaSource" PRIMARY KEY ("diaSourceId")
);

CREATE TABLE "DiaSourceChunks" (
    apdb_replica_chunk BIGINT NOT NULL,
    "diaSourceId" BIGINT NOT NULL,
    CONSTRAINT "pk_DiaSourceChunks" PRIMARY KEY ("diaSourceId"),
    CONSTRAINT "DiaSourceChunks_fk_DiaSource" FOREIGN KEY("diaSourceId") REFERENCES "DiaSource" ("diaSourceId") ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT "DiaSourceChunks_fk_ApdbReplicaChunks" FOREIGN KEY(apdb_replica_chunk) REFERENCES "ApdbReplicaChunks" (apdb_replica_chunk) ON DELETE CASCADE ON UPDATE CASCADE
)
    WITHOUT ROWID;

CREATE TABLE "signal_to_noise" (
    task_pk INTEGER NOT NULL,
    row_index INTEGER NOT NULL,
    product VARCHAR(32) NOT NULL,
    path VARCHAR(1024) NOT NULL,
    file_size INTEGER,
    file_modified_ns INTEGER,
    kind VARCHAR(32) NOT NULL,
    snr DOUBLE,
    snr_drp DOUBLE,
    snr_blue DOUBLE,
    snr_green DOUBLE,
    snr_red DOUBLE,
    header_snr DOUBLE,
    n_pixels INTEGER,
    n_good INTEGER,
    flags INTEGER NOT NULL,
    CONSTRAINT pk_signal_to_noise PRIMARY KEY (task_pk, row_index),
    CONSTRAINT fk_signal_to_noise_task_pk_task FOREIGN KEY(task_pk) REFERENCES task (pk) ON DELETE CASCADE
);

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE alert_outbox (
    pk INTEGER NOT NULL,
    sink VARCHAR(64) NOT NULL,
    "diaSourceId" BIGINT NOT NULL,
    partition_key BIGINT NOT NULL,
    instrument VARCHAR(64) NOT NULL,
    visit BIGINT NOT NULL,
    detector INTEGER NOT NULL,
    "midpointMjdTai" DOUBLE NOT NULL,
    path VARCHAR(1024) NOT NULL,
    digest VARCHAR(64) NOT NULL,
    size INTEGER NOT NULL,
    status_code SMALLINT NOT NULL,
    n_attempts INTEGER NOT NULL,
    error VARCHAR(1024),
    created DATETIME NOT NULL,
    "sentMjdTai" DOUBLE,
    CONSTRAINT pk_alert_outbox PRIMARY KEY (pk),
    CONSTRAINT "uq_alert_outbox_sink_diaSourceId" UNIQUE (sink, "diaSourceId")
);

CREATE TABLE alert_timing (
    "diaSourceId" BIGINT NOT NULL,
    instrument VARCHAR(64) NOT NULL,
    visit BIGINT NOT NULL,
    detector INTEGER NOT NULL,
    "shutterCloseMjdTai" DOUBLE NOT NULL,
    "associatedMjdTai" DOUBLE NOT NULL,
    "writtenMjdTai" DOUBLE NOT NULL,
    CONSTRAINT pk_alert_timing PRIMARY KEY ("diaSourceId")
);

CREATE TABLE apdb_correction (
    pk INTEGER NOT NULL,
    kind VARCHAR(16) NOT NULL,
    "timeMjdTai" DOUBLE NOT NULL,
    ra DOUBLE NOT NULL,
    dec DOUBLE NOT NULL,
    "pixelId" BIGINT NOT NULL,
    "diaSourceId" BIGINT,
    "diaObjectId" BIGINT,
    visit BIGINT,
    detector SMALLINT,
    target BIGINT,
    "previousDiaObjectId" BIGINT,
    "previousSsObjectId" BIGINT,
    by_merge BOOLEAN NOT NULL,
    CONSTRAINT pk_apdb_correction PRIMARY KEY (pk)
);

CREATE TABLE apdb_marker (
    instrument VARCHAR(64) NOT NULL,
    visit BIGINT NOT NULL,
    detector SMALLINT NOT NULL,
    task_id VARCHAR(255) NOT NULL,
    band CHAR(1) NOT NULL,
    "midpointMjdTai" DOUBLE NOT NULL,
    "timeProcessedMjdTai" DOUBLE NOT NULL,
    n_dia_sources INTEGER NOT NULL,
    n_new_objects INTEGER NOT NULL,
    n_updated_objects INTEGER NOT NULL,
    n_forced_sources INTEGER NOT NULL,
    CONSTRAINT pk_apdb_marker PRIMARY KEY (instrument, visit, detector)
);

CREATE TABLE association_footprint (
    instrument VARCHAR(64) NOT NULL,
    visit INTEGER NOT NULL,
    detector INTEGER NOT NULL,
    midpoint_mjd_tai DOUBLE NOT NULL,
    dec_min DOUBLE NOT NULL,
    dec_max DOUBLE NOT NULL,
    region BLOB NOT NULL,
    CONSTRAINT pk_association_footprint PRIMARY KEY (instrument, visit, detector)
);

CREATE TABLE barycentric_correction (
    task_pk INTEGER NOT NULL,
    row_index INTEGER NOT NULL,
    product VARCHAR(32) NOT NULL,
    path VARCHAR(1024) NOT NULL,
    kind VARCHAR(32) NOT NULL,
    flags INTEGER NOT NULL,
    bc DOUBLE,
    header_bc DOUBLE,
    jd_mid DOUBLE,
    ra DOUBLE,
    dec DOUBLE,
    CONSTRAINT pk_barycentric_correction PRIMARY KEY (task_pk, row_index),
    CONSTRAINT fk_barycentric_correction_task_pk_task FOREIGN KEY(task_pk) REFERENCES task (pk) ON DELETE CASCADE
);

CREATE TABLE batch_interface (
    parent_task_pk INTEGER NOT NULL,
    position INTEGER NOT NULL,
    child_task_pk INTEGER NOT NULL,
    CONSTRAINT pk_batch_interface PRIMARY KEY (parent_task_pk, position),
    CONSTRAINT fk_batch_interface_child_task_pk_task FOREIGN KEY(child_task_pk) REFERENCES task (pk) ON DELETE CASCADE,
    CONSTRAINT fk_batch_interface_parent_task_pk_task FOREIGN KEY(parent_task_pk) REFERENCES task (pk) ON DELETE CASCADE
);

CREATE TABLE batch_parameters (
    digest VARCHAR(64) NOT NULL,
    n_values INTEGER NOT NULL,
    content BLOB NOT NULL,
    created DATETIME NOT NULL,
    CONSTRAINT pk_batch_parameters PRIMARY KEY (digest)
);

CREATE TABLE calibration (
    pk INTEGER NOT NULL,
    instrument VARCHAR(64) NOT NULL,
    kind VARCHAR(32) NOT NULL,
    detector INTEGER NOT NULL,
    physical_filter VARCHAR(64) NOT NULL,
    begin_mjd_tai DOUBLE,
    end_mjd_tai DOUBLE,
    path VARCHAR(1024) NOT NULL,
    checksum VARCHAR(64) NOT NULL,
    task_id VARCHAR(255) NOT NULL,
    created DATETIME NOT NULL,
    statistics JSON NOT NULL,
    CONSTRAINT pk_calibration PRIMARY KEY (pk),
    CONSTRAINT uq_calibration_path UNIQUE (path)
);

CREATE TABLE combined_visit (
    task_pk INTEGER NOT NULL,
    row_index INTEGER NOT NULL,
    product VARCHAR(32) NOT NULL,
    path VARCHAR(1024) NOT NULL,
    kind VARCHAR(32) NOT NULL,
    flags INTEGER NOT NULL,
    v_rel DOUBLE,
    v_rel_err DOUBLE,
    v_rad DOUBLE,
    snr DOUBLE,
    n_visits INTEGER,
    n_good INTEGER,
    CONSTRAINT pk_combined_visit PRIMARY KEY (task_pk, row_index),
    CONSTRAINT fk_combined_visit_task_pk_task FOREIGN KEY(task_pk) REFERENCES task (pk) ON DELETE CASCADE
);

CREATE TABLE continuum_fit (
    task_pk INTEGER NOT NULL,
    row_index INTEGER NOT NULL,
    product VARCHAR(32) NOT NULL,
    path VARCHAR(1024) NOT NULL,
    kind VARCHAR(32) NOT NULL,
    flags INTEGER NOT NULL,
    level DOUBLE,
    snr DOUBLE,
    chi2_dof DOUBLE,
    n_used INTEGER,
    CONSTRAINT pk_continuum_fit PRIMARY KEY (task_pk, row_index),
    CONSTRAINT fk_continuum_fit_task_pk_task FOREIGN KEY(task_pk) REFERENCES task (pk) ON DELETE CASCADE
);

CREATE TABLE data_product (
    pk INTEGER NOT NULL,
    path VARCHAR(1024) NOT NULL,
    kind VARCHAR(64) NOT NULL,
    size INTEGER NOT NULL,
    checksum VARCHAR(64) NOT NULL,
    created DATETIME NOT NULL,
    task_pk INTEGER, modified_ns INTEGER,
    CONSTRAINT pk_data_product PRIMARY KEY (pk),
    CONSTRAINT fk_data_product_task_pk_task FOREIGN KEY(task_pk) REFERENCES task (pk) ON DELETE SET NULL,
    CONSTRAINT uq_data_product_path UNIQUE (path)
);

CREATE TABLE dia_forced_sums (
    "diaObjectId" INTEGER NOT NULL,
    "midpointMjdTai" DOUBLE NOT NULL,
    sums BLOB NOT NULL,
    CONSTRAINT pk_dia_forced_sums PRIMARY KEY ("diaObjectId")
);

CREATE TABLE dia_object_statistics (
    "diaObjectId" BIGINT NOT NULL,
    "validityStartMjdTai" DOUBLE NOT NULL,
    "u_psfFluxPercentile05" DOUBLE,
    "u_psfFluxPercentile25" DOUBLE,
    "u_psfFluxPercentile50" DOUBLE,
    "u_psfFluxPercentile75" DOUBLE,
    "u_psfFluxPercentile95" DOUBLE,
    "u_psfFluxChi2" DOUBLE,
    "u_psfFluxMAD" DOUBLE,
    "u_psfFluxSkew" DOUBLE,
    "u_psfFluxStetsonJ" DOUBLE,
    "u_psfFluxLinearSlope" DOUBLE,
    "u_psfFluxLinearIntercept" DOUBLE,
    "u_scienceFluxSigma" DOUBLE,
    u_period DOUBLE,
    u_power DOUBLE,
    "u_multiAmp" DOUBLE,
    "u_multiPhase" DOUBLE,
    "g_psfFluxPercentile05" DOUBLE,
    "g_psfFluxPercentile25" DOUBLE,
    "g_psfFluxPercentile50" DOUBLE,
    "g_psfFluxPercentile75" DOUBLE,
    "g_psfFluxPercentile95" DOUBLE,
    "g_psfFluxChi2" DOUBLE,
    "g_psfFluxMAD" DOUBLE,
    "g_psfFluxSkew" DOUBLE,
    "g_psfFluxStetsonJ" DOUBLE,
    "g_psfFluxLinearSlope" DOUBLE,
    "g_psfFluxLinearIntercept" DOUBLE,
    "g_scienceFluxSigma" DOUBLE,
    g_period DOUBLE,
    g_power DOUBLE,
    "g_multiAmp" DOUBLE,
    "g_multiPhase" DOUBLE,
    "r_psfFluxPercentile05" DOUBLE,
    "r_psfFluxPercentile25" DOUBLE,
    "r_psfFluxPercentile50" DOUBLE,
    "r_psfFluxPercentile75" DOUBLE,
    "r_psfFluxPercentile95" DOUBLE,
    "r_psfFluxChi2" DOUBLE,
    "r_psfFluxMAD" DOUBLE,
    "r_psfFluxSkew" DOUBLE,
    "r_psfFluxStetsonJ" DOUBLE,
    "r_psfFluxLinearSlope" DOUBLE,
    "r_psfFluxLinearIntercept" DOUBLE,
    "r_scienceFluxSigma" DOUBLE,
    r_period DOUBLE,
    r_power DOUBLE,
    "r_multiAmp" DOUBLE,
    "r_multiPhase" DOUBLE,
    "i_psfFluxPercentile05" DOUBLE,
    "i_psfFluxPercentile25" DOUBLE,
    "i_psfFluxPercentile50" DOUBLE,
    "i_psfFluxPercentile75" DOUBLE,
    "i_psfFluxPercentile95" DOUBLE,
    "i_psfFluxChi2" DOUBLE,
    "i_psfFluxMAD" DOUBLE,
    "i_psfFluxSkew" DOUBLE,
    "i_psfFluxStetsonJ" DOUBLE,
    "i_psfFluxLinearSlope" DOUBLE,
    "i_psfFluxLinearIntercept" DOUBLE,
    "i_scienceFluxSigma" DOUBLE,
    i_period DOUBLE,
    i_power DOUBLE,
    "i_multiAmp" DOUBLE,
    "i_multiPhase" DOUBLE,
    "z_psfFluxPercentile05" DOUBLE,
    "z_psfFluxPercentile25" DOUBLE,
    "z_psfFluxPercentile50" DOUBLE,
    "z_psfFluxPercentile75" DOUBLE,
    "z_psfFluxPercentile95" DOUBLE,
    "z_psfFluxChi2" DOUBLE,
    "z_psfFluxMAD" DOUBLE,
    "z_psfFluxSkew" DOUBLE,
    "z_psfFluxStetsonJ" DOUBLE,
    "z_psfFluxLinearSlope" DOUBLE,
    "z_psfFluxLinearIntercept" DOUBLE,
    "z_scienceFluxSigma" DOUBLE,
    z_period DOUBLE,
    z_power DOUBLE,
    "z_multiAmp" DOUBLE,
    "z_multiPhase" DOUBLE,
    "y_psfFluxPercentile05" DOUBLE,
    "y_psfFluxPercentile25" DOUBLE,
    "y_psfFluxPercentile50" DOUBLE,
    "y_psfFluxPercentile75" DOUBLE,
    "y_psfFluxPercentile95" DOUBLE,
    "y_psfFluxChi2" DOUBLE,
    "y_psfFluxMAD" DOUBLE,
    "y_psfFluxSkew" DOUBLE,
    "y_psfFluxStetsonJ" DOUBLE,
    "y_psfFluxLinearSlope" DOUBLE,
    "y_psfFluxLinearIntercept" DOUBLE,
    "y_scienceFluxSigma" DOUBLE,
    y_period DOUBLE,
    y_power DOUBLE,
    "y_multiAmp" DOUBLE,
    "y_multiPhase" DOUBLE,
    "multiPeriod" DOUBLE,
    "multiPower" DOUBLE,
    "multiFap" DOUBLE,
    flags BOOLEAN,
    CONSTRAINT pk_dia_object_statistics PRIMARY KEY ("diaObjectId", "validityStartMjdTai")
);

CREATE TABLE dia_object_sums (
    "diaObjectId" INTEGER NOT NULL,
    "validityStartMjdTai" DOUBLE NOT NULL,
    bands VARCHAR(6) NOT NULL,
    sums BLOB NOT NULL,
    CONSTRAINT pk_dia_object_sums PRIMARY KEY ("diaObjectId")
);

CREATE TABLE efficiency (
    search_pk INTEGER NOT NULL,
    quantity VARCHAR(8) NOT NULL,
    low DOUBLE NOT NULL,
    high DOUBLE,
    n_injected INTEGER NOT NULL,
    n_found INTEGER NOT NULL,
    completeness DOUBLE,
    completeness_low DOUBLE,
    completeness_high DOUBLE,
    flux_bias DOUBLE,
    flux_bias_err DOUBLE,
    flux_pull_median DOUBLE,
    flux_pull_sigma DOUBLE,
    position_error_pixel DOUBLE,
    position_pull_sigma DOUBLE,
    n_false INTEGER NOT NULL, n_false_new INTEGER,
    CONSTRAINT pk_efficiency PRIMARY KEY (search_pk, quantity, low),
    CONSTRAINT fk_efficiency_search_pk_search_depth FOREIGN KEY(search_pk) REFERENCES search_depth (pk) ON DELETE CASCADE
);

CREATE TABLE exposure (
    instrument VARCHAR(64) NOT NULL,
    exposure INTEGER NOT NULL,
    obs_id VARCHAR(128) NOT NULL,
    day_obs INTEGER NOT NULL,
    seq_num INTEGER NOT NULL,
    band VARCHAR(8) NOT NULL,
    physical_filter VARCHAR(64) NOT NULL,
    begin_mjd_tai DOUBLE,
    end_mjd_tai DOUBLE,
    exposure_time_s DOUBLE NOT NULL,
    observation_type VARCHAR(64) NOT NULL,
    target_name VARCHAR(128) NOT NULL,
    science_program VARCHAR(128) NOT NULL,
    group_name VARCHAR(128) NOT NULL,
    seq_start INTEGER NOT NULL,
    seq_end INTEGER NOT NULL,
    dark_time DOUBLE,
    observation_reason VARCHAR(128) NOT NULL,
    tracking_ra DOUBLE,
    tracking_dec DOUBLE,
    sky_angle DOUBLE,
    azimuth DOUBLE,
    zenith_angle DOUBLE,
    can_see_sky BOOLEAN NOT NULL,
    CONSTRAINT pk_exposure PRIMARY KEY (instrument, exposure)
);

CREATE TABLE file_version (
    pk INTEGER NOT NULL,
    path VARCHAR(1024) NOT NULL,
    checksum VARCHAR(64) NOT NULL,
    size INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    CONSTRAINT pk_file_version PRIMARY KEY (pk),
    CONSTRAINT uq_file_version_path_checksum UNIQUE (path, checksum)
);

CREATE TABLE job (
    pk INTEGER NOT NULL,
    executor VARCHAR(64) NOT NULL,
    submission VARCHAR(64) NOT NULL,
    number INTEGER NOT NULL,
    external_id VARCHAR(64),
    owner VARCHAR(255) NOT NULL,
    family VARCHAR(255) NOT NULL,
    module VARCHAR(255) NOT NULL,
    parameters JSON NOT NULL,
    settings JSON NOT NULL,
    attempt INTEGER NOT NULL,
    status_code INTEGER NOT NULL,
    message TEXT,
    asked JSON,
    folder VARCHAR(1024) NOT NULL,
    host VARCHAR(255),
    submitter_pk INTEGER,
    run_pk INTEGER,
    since DATETIME NOT NULL,
    created DATETIME NOT NULL,
    started DATETIME,
    ended DATETIME,
    CONSTRAINT pk_job PRIMARY KEY (pk),
    CONSTRAINT uq_job_submission_number UNIQUE (submission, number),
    CONSTRAINT fk_job_submitter_pk_run FOREIGN KEY(submitter_pk) REFERENCES run (pk) ON DELETE SET NULL,
    CONSTRAINT fk_job_run_pk_run FOREIGN KEY(run_pk) REFERENCES run (pk) ON DELETE SET NULL
);

CREATE TABLE line_strength (
    task_pk INTEGER NOT NULL,
    row_index INTEGER NOT NULL,
    product VARCHAR(32) NOT NULL,
    path VARCHAR(1024) NOT NULL,
    kind VARCHAR(32) NOT NULL,
    flags INTEGER NOT NULL,
    line VARCHAR(64) NOT NULL,
    width DOUBLE,
    width_err DOUBLE,
    flux DOUBLE,
    flux_err DOUBLE,
    continuum DOUBLE,
    coverage DOUBLE, medium VARCHAR(8), wavelength DOUBLE, centre DOUBLE, centre_err DOUBLE, sigma DOUBLE, sigma_err DOUBLE, fit_width DOUBLE, fit_width_err DOUBLE, fit_flux DOUBLE, fit_flux_err DOUBLE, fit_chi2_dof DOUBLE, fit_flags INTEGER,
    CONSTRAINT pk_line_strength PRIMARY KEY (task_pk, row_index, line),
    CONSTRAINT fk_line_strength_task_pk_task FOREIGN KEY(task_pk) REFERENCES task (pk) ON DELETE CASCADE
);

CREATE TABLE metadata (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT pk_metadata PRIMARY KEY (name)
);

CREATE TABLE night_summary (
    task_id VARCHAR(255) NOT NULL,
    instrument VARCHAR(64) NOT NULL,
    day_obs INTEGER NOT NULL,
    n_visits INTEGER NOT NULL,
    n_detectors INTEGER NOT NULL,
    n_done INTEGER NOT NULL,
    n_failed INTEGER NOT NULL,
    n_dia_sources INTEGER NOT NULL,
    n_new_objects INTEGER NOT NULL,
    n_updated_objects INTEGER NOT NULL,
    n_forced_sources INTEGER NOT NULL,
    n_alerts INTEGER NOT NULL,
    latency_median_s DOUBLE,
    latency_p95_s DOUBLE,
    latency_max_s DOUBLE,
    updated DATETIME NOT NULL,
    CONSTRAINT pk_night_summary PRIMARY KEY (task_id)
);

CREATE TABLE radial_velocity (
    task_pk INTEGER NOT NULL,
    row_index INTEGER NOT NULL,
    product VARCHAR(32) NOT NULL,
    path VARCHAR(1024) NOT NULL,
    kind VARCHAR(32) NOT NULL,
    flags INTEGER NOT NULL,
    template VARCHAR(128),
    v_rel DOUBLE,
    v_rel_err DOUBLE,
    bc DOUBLE,
    v_rad DOUBLE,
    amplitude DOUBLE,
    peak_snr DOUBLE,
    chi2_dof DOUBLE,
    n_pixels INTEGER,
    n_clipped INTEGER,
    CONSTRAINT pk_radial_velocity PRIMARY KEY (task_pk, row_index),
    CONSTRAINT fk_radial_velocity_task_pk_task FOREIGN KEY(task_pk) REFERENCES task (pk) ON DELETE CASCADE
);

CREATE TABLE raw (
    instrument VARCHAR(64) NOT NULL,
    exposure INTEGER NOT NULL,
    detector INTEGER NOT NULL,
    path VARCHAR(1024) NOT NULL,
    size INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    checksum VARCHAR(64) NOT NULL,
    region BLOB,
    CONSTRAINT pk_raw PRIMARY KEY (instrument, exposure, detector),
    CONSTRAINT fk_raw_instrument_exposure_exposure FOREIGN KEY(instrument, exposure) REFERENCES exposure (instrument, exposure) ON DELETE CASCADE
);

CREATE TABLE raw_collection (
    instrument VARCHAR(64) NOT NULL,
    exposure INTEGER NOT NULL,
    detector INTEGER NOT NULL,
    collection VARCHAR(128) NOT NULL,
    CONSTRAINT pk_raw_collection PRIMARY KEY (instrument, exposure, detector, collection),
    CONSTRAINT fk_raw_collection_instrument_exposure_detector_raw FOREIGN KEY(instrument, exposure, detector) REFERENCES raw (instrument, exposure, detector) ON DELETE CASCADE
);

CREATE TABLE run (
    pk INTEGER NOT NULL,
    command TEXT NOT NULL,
    host VARCHAR(255) NOT NULL,
    pid INTEGER NOT NULL,
    version VARCHAR(64) NOT NULL,
    packages JSON NOT NULL,
    configuration JSON NOT NULL,
    started DATETIME NOT NULL,
    ended DATETIME,
    exit_status INTEGER,
    CONSTRAINT pk_run PRIMARY KEY (pk)
);

CREATE TABLE search_depth (
    pk INTEGER NOT NULL,
    task_id VARCHAR(255) NOT NULL,
    instrument VARCHAR(64) NOT NULL,
    visit INTEGER,
    detector INTEGER,
    day_obs INTEGER,
    band VARCHAR(8) NOT NULL,
    mag50 DOUBLE,
    mag50_err DOUBLE,
    mag90 DOUBLE,
    plateau DOUBLE,
    width_mag DOUBLE,
    n_injected INTEGER NOT NULL,
    n_found INTEGER NOT NULL,
    n_false INTEGER NOT NULL,
    created DATETIME NOT NULL, n_false_new INTEGER,
    CONSTRAINT pk_search_depth PRIMARY KEY (pk)
);

CREATE TABLE spectral_classification (
    task_pk INTEGER NOT NULL,
    row_index INTEGER NOT NULL,
    product VARCHAR(32) NOT NULL,
    path VARCHAR(1024) NOT NULL,
    kind VARCHAR(32) NOT NULL,
    flags INTEGER NOT NULL,
    class_name VARCHAR(64),
    z DOUBLE,
    z_err DOUBLE,
    chi2_dof DOUBLE,
    delta_chi2 DOUBLE,
    n_pixels INTEGER,
    CONSTRAINT pk_spectral_classification PRIMARY KEY (task_pk, row_index),
    CONSTRAINT fk_spectral_classification_task_pk_task FOREIGN KEY(task_pk) REFERENCES task (pk) ON DELETE CASCADE
);

CREATE TABLE stellar_label (
    task_pk INTEGER NOT NULL,
    row_index INTEGER NOT NULL,
    product VARCHAR(32) NOT NULL,
    path VARCHAR(1024) NOT NULL,
    kind VARCHAR(32) NOT NULL,
    flags INTEGER NOT NULL,
    label VARCHAR(64) NOT NULL,
    value DOUBLE,
    value_err DOUBLE,
    chi2_dof DOUBLE,
    n_pixels INTEGER,
    CONSTRAINT pk_stellar_label PRIMARY KEY (task_pk, row_index, label),
    CONSTRAINT fk_stellar_label_task_pk_task FOREIGN KEY(task_pk) REFERENCES task (pk) ON DELETE CASCADE
);

CREATE TABLE task (
    pk INTEGER NOT NULL,
    task_id VARCHAR(255) NOT NULL,
    family VARCHAR(255) NOT NULL,
    module VARCHAR(255) NOT NULL,
    parameters JSON NOT NULL,
    status_code INTEGER NOT NULL,
    batch_size INTEGER,
    created DATETIME NOT NULL,
    started DATETIME,
    modified DATETIME NOT NULL,
    completed DATETIME,
    duration FLOAT,
    overhead FLOAT,
    run_pk INTEGER,
    version VARCHAR(64) NOT NULL, constants_pk INTEGER CONSTRAINT fk_task_constants_pk_task_constants REFERENCES task_constants (pk),
    CONSTRAINT pk_task PRIMARY KEY (pk),
    CONSTRAINT fk_task_run_pk_run FOREIGN KEY(run_pk) REFERENCES run (pk) ON DELETE SET NULL,
    CONSTRAINT uq_task_task_id UNIQUE (task_id)
);

CREATE TABLE task_attempt (
    pk INTEGER NOT NULL,
    task_pk INTEGER NOT NULL,
    run_pk INTEGER,
    status_code INTEGER NOT NULL,
    host VARCHAR(255) NOT NULL,
    pid INTEGER NOT NULL,
    started DATETIME NOT NULL,
    ended DATETIME,
    duration FLOAT,
    exit_signal INTEGER,
    error_class VARCHAR(255),
    message TEXT,
    context JSON,
    traceback TEXT,
    log TEXT,
    CONSTRAINT pk_task_attempt PRIMARY KEY (pk),
    CONSTRAINT fk_task_attempt_run_pk_run FOREIGN KEY(run_pk) REFERENCES run (pk) ON DELETE SET NULL,
    CONSTRAINT fk_task_attempt_task_pk_task FOREIGN KEY(task_pk) REFERENCES task (pk) ON DELETE CASCADE
);

CREATE TABLE task_constants (
    pk INTEGER NOT NULL,
    digest VARCHAR(64) NOT NULL,
    parameters JSON NOT NULL,
    CONSTRAINT pk_task_constants PRIMARY KEY (pk),
    CONSTRAINT uq_task_constants_digest UNIQUE (digest)
);

CREATE TABLE task_dependency (
    task_pk INTEGER NOT NULL,
    required_task_pk INTEGER NOT NULL,
    CONSTRAINT pk_task_dependency PRIMARY KEY (task_pk, required_task_pk),
    CONSTRAINT fk_task_dependency_required_task_pk_task FOREIGN KEY(required_task_pk) REFERENCES task (pk) ON DELETE CASCADE,
    CONSTRAINT fk_task_dependency_task_pk_task FOREIGN KEY(task_pk) REFERENCES task (pk) ON DELETE CASCADE
);

CREATE TABLE task_input (
    task_pk INTEGER NOT NULL,
    file_pk INTEGER NOT NULL,
    CONSTRAINT pk_task_input PRIMARY KEY (task_pk, file_pk),
    CONSTRAINT fk_task_input_task_pk_task FOREIGN KEY(task_pk) REFERENCES task (pk) ON DELETE CASCADE,
    CONSTRAINT fk_task_input_file_pk_file_version FOREIGN KEY(file_pk) REFERENCES file_version (pk)
);

CREATE TABLE task_metadata (
    task_pk INTEGER NOT NULL,
    "key" VARCHAR(255) NOT NULL,
    value JSON NOT NULL,
    CONSTRAINT pk_task_metadata PRIMARY KEY (task_pk, "key"),
    CONSTRAINT fk_task_metadata_task_pk_task FOREIGN KEY(task_pk) REFERENCES task (pk) ON DELETE CASCADE
);

CREATE TABLE template (
    pk INTEGER NOT NULL,
    instrument VARCHAR(64) NOT NULL,
    collection VARCHAR(128) NOT NULL,
    band VARCHAR(8) NOT NULL,
    tile_order INTEGER NOT NULL,
    pixel_scale_arcsec DOUBLE NOT NULL,
    tile INTEGER NOT NULL,
    path VARCHAR(1024) NOT NULL,
    source VARCHAR(1024) NOT NULL,
    task_id VARCHAR(255) NOT NULL,
    n_inputs INTEGER NOT NULL,
    coverage DOUBLE NOT NULL,
    fwhm_arcsec DOUBLE,
    created DATETIME NOT NULL,
    CONSTRAINT pk_template PRIMARY KEY (pk),
    CONSTRAINT uq_template_path UNIQUE (path)
);

CREATE TABLE template_input (
    template_pk INTEGER NOT NULL,
    visit INTEGER NOT NULL,
    detector INTEGER NOT NULL,
    used BOOLEAN NOT NULL,
    weight DOUBLE,
    fwhm_arcsec DOUBLE,
    reason VARCHAR(1024) NOT NULL,
    CONSTRAINT pk_template_input PRIMARY KEY (template_pk, visit, detector),
    CONSTRAINT fk_template_input_template_pk_template FOREIGN KEY(template_pk) REFERENCES template (pk) ON DELETE CASCADE
);

CREATE TABLE visit (
    instrument VARCHAR(64) NOT NULL,
    visit_system INTEGER NOT NULL,
    visit INTEGER NOT NULL,
    name VARCHAR(128) NOT NULL,
    day_obs INTEGER NOT NULL,
    seq_num INTEGER NOT NULL,
    band VARCHAR(8),
    physical_filter VARCHAR(64),
    begin_mjd_tai DOUBLE,
    end_mjd_tai DOUBLE,
    exposure_time_s DOUBLE NOT NULL,
    target_name VARCHAR(128),
    science_program VARCHAR(128),
    region BLOB NOT NULL,
    observation_reason VARCHAR(128) NOT NULL,
    azimuth DOUBLE,
    zenith_angle DOUBLE,
    region_source VARCHAR(64) NOT NULL,
    CONSTRAINT pk_visit PRIMARY KEY (instrument, visit_system, visit),
    CONSTRAINT fk_visit_instrument_visit_system_visit_system FOREIGN KEY(instrument, visit_system) REFERENCES visit_system (instrument, visit_system)
);

CREATE TABLE visit_definition (
    instrument VARCHAR(64) NOT NULL,
    visit_system INTEGER NOT NULL,
    visit INTEGER NOT NULL,
    exposure INTEGER NOT NULL,
    CONSTRAINT pk_visit_definition PRIMARY KEY (instrument, visit_system, visit, exposure),
    CONSTRAINT fk_visit_definition_instrument_exposure_exposure FOREIGN KEY(instrument, exposure) REFERENCES exposure (instrument, exposure),
    CONSTRAINT fk_visit_definition_instrument_visit_system_visit_visit FOREIGN KEY(instrument, visit_system, visit) REFERENCES visit (instrument, visit_system, visit) ON DELETE CASCADE
);

CREATE TABLE visit_detector_region (
    instrument VARCHAR(64) NOT NULL,
    visit_system INTEGER NOT NULL,
    visit INTEGER NOT NULL,
    detector INTEGER NOT NULL,
    region BLOB NOT NULL,
    CONSTRAINT pk_visit_detector_region PRIMARY KEY (instrument, visit_system, visit, detector),
    CONSTRAINT fk_visit_detector_region_instrument_visit_system_visit_visit FOREIGN KEY(instrument, visit_system, visit) REFERENCES visit (instrument, visit_system, visit) ON DELETE CASCADE
);

CREATE TABLE visit_system (
    instrument VARCHAR(64) NOT NULL,
    visit_system INTEGER NOT NULL,
    name VARCHAR(64) NOT NULL,
    CONSTRAINT pk_visit_system PRIMARY KEY (instrument, visit_system),
    CONSTRAINT uq_visit_system_instrument_name UNIQUE (instrument, name)
);

CREATE TABLE visit_system_membership (
    instrument VARCHAR(64) NOT NULL,
    visit_system INTEGER NOT NULL,
    visit INTEGER NOT NULL,
    CONSTRAINT pk_visit_system_membership PRIMARY KEY (instrument, visit_system, visit),
    CONSTRAINT fk_visit_system_membership_instrument_visit_system_visit_visit FOREIGN KEY(instrument, visit_system, visit) REFERENCES visit (instrument, visit_system, visit) ON DELETE CASCADE
);

INSERT INTO "alembic_version" VALUES('0021');

INSERT INTO "metadata" VALUES('config:apdb-sql.json','{"enable_replica": true, "dia_object_index": "baseline", "htm_level": 20, "htm_index_column": "pixelId", "ra_dec_columns": ["ra", "dec"]}');

INSERT INTO "metadata" VALUES('version:ApdbSql','1.2.1');

INSERT INTO "metadata" VALUES('version:ApdbSqlReplica','1.0.0');

INSERT INTO "metadata" VALUES('version:schema','10.0.0');

CREATE INDEX "DiaForcedSourceChunks_apdb_replica_chunk_idx" ON "DiaForcedSourceChunks" (apdb_replica_chunk);

CREATE INDEX "DiaObjectChunks_apdb_replica_chunk_idx" ON "DiaObjectChunks" (apdb_replica_chunk);

CREATE INDEX "DiaSourceChunks_apdb_replica_chunk_idx" ON "DiaSourceChunks" (apdb_replica_chunk);

CREATE INDEX "IDX_DiaForcedSource_visitDetector" ON "DiaForcedSource" (visit, detector);

CREATE INDEX "IDX_DiaObjectToObjectMatch_diaObjectId" ON "DiaObject_To_Object_Match" ("diaObjectId");

CREATE INDEX "IDX_DiaObjectToObjectMatch_objectId" ON "DiaObject_To_Object_Match" ("objectId");

CREATE INDEX "IDX_DiaObject_pixelId" ON "DiaObject" ("pixelId");

CREATE INDEX "IDX_DiaObject_validityStart" ON "DiaObject" ("validityStartMjdTai");

CREATE INDEX "IDX_DiaSource_diaObjectId" ON "DiaSource" ("diaObjectId");

CREATE INDEX "IDX_DiaSource_pixelId" ON "DiaSource" ("pixelId");

CREATE INDEX "IDX_DiaSource_ssObjectId" ON "DiaSource" ("ssObjectId");

CREATE INDEX "IDX_DiaSource_visitDetector" ON "DiaSource" (visit, detector);

CREATE INDEX "ix_DiaObject_current" ON "DiaObject" ("pixelId") WHERE "validityEndMjdTai" IS NULL;

CREATE INDEX "ix_apdb_correction_diaObjectId" ON apdb_correction ("diaObjectId");

CREATE INDEX "ix_apdb_correction_pixelId" ON apdb_correction ("pixelId");

CREATE INDEX "ix_apdb_correction_previousDiaObjectId" ON apdb_correction ("previousDiaObjectId");

CREATE INDEX ix_alert_outbox_sink_instrument_visit_detector ON alert_outbox (sink, instrument, visit, detector);

CREATE INDEX ix_alert_outbox_sink_status_code ON alert_outbox (sink, status_code);

CREATE INDEX ix_alert_timing_instrument_visit_detector ON alert_timing (instrument, visit, detector);

CREATE INDEX ix_apdb_correction_target ON apdb_correction (target);

CREATE INDEX ix_apdb_correction_visit_detector ON apdb_correction (visit, detector);

CREATE INDEX ix_apdb_marker_visit_detector ON apdb_marker (visit, detector);

CREATE INDEX ix_association_footprint_instrument_midpoint_mjd_tai ON association_footprint (instrument, midpoint_mjd_tai);

CREATE INDEX ix_barycentric_correction_path ON barycentric_correction (path);

CREATE INDEX ix_batch_interface_child_task_pk ON batch_interface (child_task_pk);

CREATE INDEX ix_calibration_instrument_detector_kind ON calibration (instrument, detector, kind);

CREATE INDEX ix_combined_visit_path ON combined_visit (path);

CREATE INDEX ix_continuum_fit_path ON continuum_fit (path);

CREATE INDEX ix_data_product_task_pk ON data_product (task_pk);

CREATE INDEX ix_exposure_instrument_day_obs ON exposure (instrument, day_obs);

CREATE INDEX ix_exposure_instrument_group_name ON exposure (instrument, group_name);

CREATE INDEX ix_job_owner ON job (owner);

CREATE INDEX ix_line_strength_path ON line_strength (path);

CREATE INDEX ix_night_summary_instrument_day_obs ON night_summary (instrument, day_obs);

CREATE INDEX ix_radial_velocity_path ON radial_velocity (path);

CREATE INDEX ix_raw_path ON raw (path);

CREATE INDEX ix_search_depth_instrument_day_obs ON search_depth (instrument, day_obs);

CREATE INDEX ix_search_depth_instrument_visit_detector ON search_depth (instrument, visit, detector);

CREATE INDEX ix_search_depth_task_id ON search_depth (task_id);

CREATE INDEX ix_signal_to_noise_path ON signal_to_noise (path);

CREATE INDEX ix_spectral_classification_path ON spectral_classification (path);

CREATE INDEX ix_stellar_label_path ON stellar_label (path);

CREATE INDEX ix_task_attempt_task_pk ON task_attempt (task_pk);

CREATE INDEX ix_task_attempt_told ON task_attempt (task_pk) WHERE message IS NOT NULL;

CREATE INDEX ix_task_dependency_required_task_pk ON task_dependency (required_task_pk);

CREATE INDEX ix_task_family ON task (family);

CREATE INDEX ix_task_input_file_pk ON task_input (file_pk);

CREATE INDEX ix_task_visit ON task ((parameters ->> 'visit')) WHERE (parameters ->> 'visit') IS NOT NULL;

CREATE INDEX ix_template_input_visit_detector ON template_input (visit, detector);

CREATE INDEX ix_template_instrument_collection_band_tile_order_tile ON template (instrument, collection, band, tile_order, tile);

CREATE INDEX ix_visit_definition_instrument_exposure ON visit_definition (instrument, exposure);

CREATE INDEX ix_visit_instrument_day_obs ON visit (instrument, day_obs);

CREATE VIEW parameter AS SELECT DISTINCT parameter_name, parameter_value FROM task_parameter;

CREATE VIEW task_parameter AS
    SELECT task.pk AS task_pk, task.task_id, item.key AS parameter_name, item.value AS parameter_value
    FROM task, json_each(task.parameters) AS item
    UNION ALL
    SELECT task.pk, task.task_id, item.key, item.value
    FROM task JOIN task_constants ON task_constants.pk = task.constants_pk, json_each(task_constants.parameters) AS item;

CREATE VIEW task_state AS
    SELECT task.task_id, task.family, CASE task.status_code WHEN 0 THEN 'created' WHEN 1 THEN 'done' WHEN 2 THEN 'running'
    WHEN 30 THEN 'failed' WHEN 40 THEN 'process died' WHEN 50 THEN 'broken'
    WHEN 60 THEN 'dependency missing' WHEN 70 THEN 'timed out' END AS state,
    task.status_code, json_patch(coalesce(task_constants.parameters, '{}'), task.parameters) AS parameters, task.batch_size, task.created, task.started,
    task.completed, task.duration, (SELECT attempt.message FROM task_attempt AS attempt WHERE attempt.task_pk = task.pk
    ORDER BY attempt.pk DESC LIMIT 1) AS message
    FROM task LEFT JOIN task_constants ON task_constants.pk = task.constants_pk;
