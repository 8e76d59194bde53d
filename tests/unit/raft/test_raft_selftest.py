"""A node runs on the pinned Raft library or not at all."""

import pytest

from raftq_cluster.backends.raft import core_pysyncobj as core
from raftq_cluster.backends.raft.selftest import verify
from raftq_cluster.config import StartError

NAMES = [*core.OVERRIDES.values(), *core.FIELDS.values()]


def verify_installed(**changes):
    verify(core.installed_library()._replace(**changes), NAMES, core.GLOBALS)


def test_the_installed_library_passes():
    verify_installed()


def test_another_version_is_refused_with_one_sentence():
    with pytest.raises(StartError, match=r"its version is 0\.3\.18; reinstall it with: pip"):
        verify_installed(version="0.3.18")


@pytest.mark.parametrize("name", NAMES)
def test_a_library_without_a_private_name_that_is_relied_on_is_refused(name):
    names = core.installed_library().names - {name}
    with pytest.raises(StartError, match=f"it has no {name}"):
        verify_installed(names=names)


@pytest.mark.parametrize("name", core.GLOBALS)
def test_a_library_without_a_global_that_is_replaced_is_refused(name):
    module_names = core.installed_library().module_names - {name}
    with pytest.raises(StartError, match=f"its module has no {name}"):
        verify_installed(module_names=module_names)


def test_a_patched_source_is_refused():
    digests = dict(core.installed_library().digests)
    digests["pysyncobj.syncobj"] = "0" * 64
    with pytest.raises(StartError, match=r"the source of pysyncobj\.syncobj has been changed"):
        verify_installed(digests=digests)


def test_a_missing_source_is_refused():
    with pytest.raises(StartError, match="has been changed"):
        verify_installed(digests={})
