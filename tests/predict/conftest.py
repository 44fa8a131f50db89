from command_line import generated_data_cache, here  # noqa: F401
from small_models import finished_run  # noqa: F401
