from command_line import (  # noqa: F401
    generated_data_cache,
    here,
    mine,
    shared,
    voc,
)
