"""For tests only: a Snakemake that is started with this folder on PYTHONPATH looks at its jobs every second.

The executor plugin waits ten seconds longer after every look that finds nothing finished; a test has no time for that.
Only the pause changes; what is asked and what follows from it is the plugin's own. Jobs are not touched.
"""

import sys

if "snakemake" in " ".join(sys.orig_argv[:4]) and "--mode" not in sys.orig_argv:
    import asyncio

    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    async def _sleep(self: RemoteExecutor) -> None:
        await asyncio.sleep(1)

    RemoteExecutor.sleep = _sleep
