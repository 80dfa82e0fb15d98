"""Move rows between partitions: through tasks on any scheduler, or peer to peer on a distributed cluster."""
