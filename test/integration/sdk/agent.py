"""What an application with dory-sdk does: it starts the heartbeat manager, and ends when it is told to.

Takes the ids of a processor and of a node; the server is in DORY_ORCHESTRATOR_URL, which the SDK reads by itself. Prints a line
of JSON for each change of connectivity and one at the end. The manager only logs a directive: acting on it is the application's part.
"""

import asyncio
import json
import logging
import sys

from dory.edge import ConnectivityStatus, FencingToken, HeartbeatConfig, HeartbeatManager, ProcessorRole


class Shutdown(logging.Handler):
    """Sets the event when the manager logs that the orchestrator wants an end."""

    def __init__(self, event: asyncio.Event) -> None:
        super().__init__()
        self.event = event

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "Orchestrator requested shutdown":
            self.event.set()


def tell(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


async def main(processor_id: str, node_id: str) -> None:
    shutdown = asyncio.Event()
    logging.getLogger("dory.edge.heartbeat").addHandler(Shutdown(shutdown))
    # What the SDK calls slow, half a second, a busy machine takes now and then.
    manager = HeartbeatManager(HeartbeatConfig(interval_sec=0.05, timeout_sec=60.0, latency_threshold_ms=60_000.0))
    token = FencingToken(processor_id=processor_id, node_id=node_id, epoch=41)
    manager.set_processor_info(processor_id, node_id, ProcessorRole.PRIMARY, token)
    manager.record_state_sync(size_bytes=1234)

    async def changed(_: ConnectivityStatus, now: ConnectivityStatus) -> None:
        tell(connectivity=now.value)

    manager.add_connectivity_callback(changed)
    await manager.start()
    await shutdown.wait()
    await manager.stop()
    tell(sent=manager.metrics.total_heartbeats, failed=manager.metrics.failed_heartbeats)


asyncio.run(main(*sys.argv[1:3]))
