"""Faults find somebody to hit, whatever has become of the cluster."""

from raftq_cluster.backends.raft.formation import Join
from tests.simulation.cluster import Cluster
from tests.simulation.faults.scene import Scene
from tests.simulation.node import SimNode
from tests.simulation.world import World


def test_somebody_is_hit_while_nobody_runs_and_those_who_formed_the_cluster_were_all_removed() -> (
    None
):
    cluster = Cluster(World("any"), 3)
    for node in cluster.nodes.values():
        node.is_removed = True
    cluster.nodes["n4"] = SimNode(cluster, "n4", Join(()))
    scene = Scene(cluster)
    assert scene.victim(cluster.world.random("any")).name == "n4"
