import pytest

from cnncli.native.library import kernels


@pytest.fixture(autouse=True)
def _only_with_kernels(request):
    """Everything here but the tests of loading is about kernels that are there."""
    if request.path.stem != "test_library" and kernels().name != "onednn":
        pytest.skip(f"no kernels: {kernels().why}")
