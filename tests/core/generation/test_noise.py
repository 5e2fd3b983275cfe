import torch

from polyjanus.core.generation.noise import row_seeds, uniform


def test_noise_is_uniform_strictly_between_zero_and_one() -> None:
    noise = uniform(row_seeds(0, torch.arange(64)), torch.zeros(64, dtype=torch.long), 0, 4096)
    assert noise.dtype == torch.float32
    assert 0 < float(noise.min()) and float(noise.max()) < 1
    counts = torch.histc(noise, 64, 0, 1)
    chi_square = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert chi_square < 120  # 63 degrees of freedom: beyond 120 in one of 10,000


def test_noise_depends_on_seed_row_step_and_column_alone() -> None:
    def draw(seed: int, row: int, step: int, column: int) -> list[float]:
        return uniform(row_seeds(seed, torch.tensor([row])), torch.tensor([step]), column, 8)[0].tolist()

    assert draw(0, 1, 2, 3) == draw(0, 1, 2, 3)
    others = [draw(1, 1, 2, 3), draw(0, 2, 2, 3), draw(0, 1, 3, 3), draw(0, 1, 2, 4)]
    assert all(other != draw(0, 1, 2, 3) for other in others)
    together = uniform(row_seeds(0, torch.arange(3)), torch.tensor([5, 2, 7]), 3, 8)
    assert together[1].tolist() == draw(0, 1, 2, 3)


def test_neighbouring_rows_and_steps_are_uncorrelated() -> None:
    seeds = row_seeds(0, torch.arange(2))
    first = uniform(seeds, torch.tensor([0, 0]), 0, 100_000)
    later = uniform(seeds, torch.tensor([1, 1]), 0, 100_000)
    stacked = torch.cat([first, later])
    correlation = torch.corrcoef(stacked) - torch.eye(4)
    assert float(correlation.abs().max()) < 0.02
