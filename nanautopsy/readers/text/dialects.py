"""The dialects, in order of precedence."""

from __future__ import annotations

from nanautopsy.readers.text import (
    amp_options,
    boxed_table,
    column_table,
    config_echo,
    data_text,
    deepspeed,
    environment_text,
    headed_rows,
    hf_dict,
    key_value,
    launch_line,
    layer_rows,
    layer_tables,
    lifecycle,
    load_report,
    load_words,
    megatron,
    nonfinite_text,
    precision,
    printed_values,
    rate_statements,
    sections,
    setting_lines,
    settings_dict,
    skipped_steps,
    terse_rows,
    torch_text,
    traceback_text,
    underflow_table,
    wandb_summary,
    yaml_echo,
    yolo_rows,
)
from nanautopsy.readers.text.dialect import Dialect

DIALECTS: tuple[Dialect, ...] = tuple(
    module.DIALECT
    for module in (
        deepspeed,
        sections,
        yolo_rows,
        terse_rows,
        hf_dict,
        megatron,
        layer_rows,
        key_value,
        load_report,
        load_words,
        column_table,
        layer_tables,
        headed_rows,
        boxed_table,
        wandb_summary,
        config_echo,
        yaml_echo,
        amp_options,
        settings_dict,
        setting_lines,
        environment_text,
        precision,
        launch_line,
        lifecycle,
        data_text,
        rate_statements,
        traceback_text,
        underflow_table,
        skipped_steps,
        torch_text,
        nonfinite_text,
        printed_values,
    )
)
"""Of the metrics dialects the first that wants a line's shape gets it, so those that know a format
come before the general one."""
