"""The columns of a session's runs.csv, in order: one row a run, units in the names."""

SCHEMA_VERSION = 1

COLUMNS = (
    *("schema_version", "session_id", "run_id"),
    *("model_id", "variant", "model_sha256", "format", "precision"),
    *("tool", "tool_version", "tool_sha256", "delegate", "nodes_delegated", "nodes_total"),
    *("threads", "cpu_mask", "batch", "repeat", "order", "warmup_runs", "runs"),
    *("median_ms", "mean_ms", "min_ms", "max_ms", "std_ms"),
    *("p5_ms", "p90_ms", "p95_ms", "p99_ms", "init_ms", "first_ms"),
    *("started_at", "battery_temp_c_start", "battery_temp_c_end"),
    *("thermal_status_start", "thermal_status_end", "battery_percent", "powered"),
    *("gate", "raw_log", "raw_log_sha256"),
)
