import os

from hypothesis import settings

# Before torch is imported: its threads would spin while they wait, which beside other processes
# (a test's own workers, say) makes everything many times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# A machine may be busy: how long an example takes is no property of the code.
settings.register_profile("no time", deadline=None)
settings.load_profile("no time")
