"""The contracts that polyjanus has with its plugins; `polyjanus plugins check thermal` says the same."""

from polyjanus.core.testing import parametrize_with_checks


@parametrize_with_checks("polyjanus_thermal")
def test_contracts(case):
    case()
