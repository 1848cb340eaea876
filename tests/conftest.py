import os

# Before torch is imported: its threads would spin while they wait, which beside other processes
# (a test's own workers, say) makes everything many times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
