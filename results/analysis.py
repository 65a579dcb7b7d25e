# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Reading a comparison
#
# A run's folder holds tidy tables. One line loads them; everything below is plain pandas and Matplotlib. Point
# `folder` at a run of your own: `consensus-bench compare` prints where it wrote.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import consensus_bench

folder = os.environ.get("CONSENSUS_BENCH_RUN", "reference")
run = consensus_bench.load(folder)
run.manifest["command"]

# %% [markdown]
# ## Who is served how fast
#
# `summary` has a row per protocol, seed, site and metric; `ALL` pools. A mean over operations favours fast sites, where
# closed-loop clients complete more of them, so here is the mean over sites beside it.

# %%
s = run.summary.query("seed == 'ALL' and metric == 'execute'")
by_site = s.query("site != 'ALL'").pivot(index="site", columns="protocol", values="p50_ms")
by_site = by_site.loc[run.client_sites, run.protocols]
by_site.round(1)

# %%
means = s.query("site == 'ALL'").set_index("protocol")["mean_ms"].rename("over operations").to_frame()
means["over sites"] = s.query("site != 'ALL'").groupby("protocol")["mean_ms"].mean()
means.loc[run.protocols].round(1)

# %%
axes = by_site.plot.barh(figsize=(9, 4.5), width=0.8)
floor = run.bounds.groupby("site")["floor_ms"].min().loc[run.client_sites]
axes.plot(floor, range(len(floor)), "k|", ms=28, mew=2, label="lower bound")
axes.invert_yaxis()
axes.set_xlabel("median execution latency, ms")
axes.legend(loc="lower right")
plt.show()

# %% [markdown]
# ## The whole distribution
#
# `operations` has a row per client operation with its times in nanoseconds: due, sent, committed, executed, answered.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for protocol in run.protocols:
    values = np.sort(run.latencies_ms(protocol))
    share = np.arange(1, len(values) + 1) / len(values)
    left.step(values, share, label=protocol)
    right.step(values, 1 - share + 1 / len(values), label=protocol)
right.set_yscale("log")
left.set(xlabel="execution latency, ms", ylabel="share of operations answered within")
right.set(xlabel="execution latency, ms", ylabel="share of operations slower than")
left.legend()
plt.show()

# %% [markdown]
# ## Commit and execution
#
# A command is *committed* when it is known to be chosen, and *executed* when everything before it has been. With a
# leader the two nearly coincide. In EPaxos a committed command may wait for others that it depends on.

# %%
o = run.operations.query("measured").dropna(subset=["executed_ns"])
waits = ((o["executed_ns"] - o["committed_ns"]) / 1e6).groupby(o["protocol"], observed=True)
waits.describe(percentiles=[0.5, 0.99, 0.999]).loc[run.protocols].round(2)

# %% [markdown]
# ## Load and conflicts
#
# These sweeps are there if the run made them.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for protocol in run.protocols:
    if len(run.load):
        rows = run.load[run.load["protocol"] == protocol]
        left.plot(rows["throughput_ops"], rows["p50_ms"], "o-", label=protocol)
    if len(run.conflict):
        rows = run.conflict[(run.conflict["protocol"] == protocol) & (run.conflict["metric"] == "execute")]
        right.plot(rows["conflict_percent"], rows["mean_ms"], "o-", label=protocol)
left.set(xlabel="throughput reached, operations/s", ylabel="median execution latency, ms", yscale="log")
right.set(xlabel="operations on the hot key, %", ylabel="mean execution latency, ms")
for axes in (left, right):
    if axes.lines:
        axes.legend()
plt.show()
