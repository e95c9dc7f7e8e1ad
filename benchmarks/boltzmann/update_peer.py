"""One update of a 784 x 500 machine, in the peers' environment: python update_peer.py NAME STEPS THREADS.

Each line on standard input runs the loop once; the milliseconds an update go to standard output. Batches of 100
binary rows, 100 chains, one sweep, plain gradient descent; the peers' own functions without their logging.
"""

import sys
import time

import torch

ROWS, VISIBLE, HIDDEN, RATE = 100, 784, 500, 0.01


def rbms(steps: int):
    """`fit_batch_pcd` of rbms, centred as it is by default."""
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from rbms.training.pcd import fit_batch_pcd

    machine = BBRBM(0.01 * torch.randn(VISIBLE, HIDDEN), torch.zeros(VISIBLE), torch.zeros(HIDDEN))
    optimizer = torch.optim.SGD(machine.parameters(), lr=RATE, maximize=True)
    chains = machine.init_chains(ROWS)
    for parameter in machine.parameters():
        parameter.grad = torch.zeros_like(parameter)
    weights = torch.ones(ROWS)

    def run(batches):
        nonlocal chains
        with torch.no_grad():
            for batch in batches:
                optimizer.zero_grad(set_to_none=False)
                chains, _ = fit_batch_pcd((batch, weights), chains, machine, gibbs_steps=1, beta=1.0)
                optimizer.step()

    return run


def learnergy(steps: int):
    """The update of learnergy's `RBM.fit`, without the pseudo-likelihood that it reports after each."""
    from learnergy.models.bernoulli import RBM

    machine = RBM(n_visible=VISIBLE, n_hidden=HIDDEN, steps=1, learning_rate=RATE)

    def run(batches):
        for batch in batches:
            visible = machine.gibbs_sampling(batch)[-1].detach()
            cost = torch.mean(machine.energy(batch)) - torch.mean(machine.energy(visible))
            machine.optimizer.zero_grad()
            cost.backward()
            machine.optimizer.step()

    return run


def main() -> None:
    """Answer every line with one measurement."""
    name, steps, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    run = {"rbms": rbms, "learnergy": learnergy}[name](steps)
    batches = [(torch.rand(ROWS, VISIBLE) < 0.2).float() for _ in range(steps)]
    for _ in sys.stdin:
        start = time.perf_counter()
        run(batches)
        print((time.perf_counter() - start) / steps * 1e3, flush=True)


if __name__ == "__main__":
    main()
