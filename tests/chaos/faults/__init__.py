"""Everything that is done to a cluster, by what it is done to. Each fault is a coroutine of the scene and of chance.

A fault does its harm, holds it for a while (``scene.hold`` ends early once the round is over), and puts it right itself.
"""
