"""How many examples Hypothesis tries: SOJOURN_TEST_PROFILE is `default` or `full` (`make test-full`)."""

import os

from hypothesis import HealthCheck, settings

# No deadline: a fold of a few records can wait for a busy machine's garbage collector.
settings.register_profile("default", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("full", settings.get_profile("default"), max_examples=1000)
settings.load_profile(os.environ.get("SOJOURN_TEST_PROFILE", "default"))
