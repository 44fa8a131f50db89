from command_line import generated_data_cache, here  # noqa: F401
