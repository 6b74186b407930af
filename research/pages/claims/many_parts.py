"""Networks of many parts: graphs, clocks, slow links, and chips."""

from research.pages.claims.results import load, number, percentage, save_figure, with_spread
from research.pages.made_page import table_of


def graphs() -> str:
    """Processor time against the number of parts."""
    return table_of(
        load("networks/many_parts")["graphs"],
        {
            "graph": lambda row: row["shape"],
            "parts": lambda row: str(row["parts"]),
            "whole sequence [µs a tick and part]": lambda row: number(row["whole_us"] / row["parts"], 1),
            "single step": lambda row: number(row["step_us"] / row["parts"], 1),
            "a step by hand": lambda row: number(row["hand_us"] / row["parts"], 1),
        },
    )


def clocks() -> str:
    """Processor time against the ratio of clocks."""
    return table_of(
        load("networks/many_parts")["clocks"],
        {
            "ratio of clocks": lambda row: f"{row['ratio']}",
            "µs a tick": lambda row: number(row["us_a_tick"], 1),
            "µs a firing of a part": lambda row: number(row["us_a_firing"]),
        },
    )


def latencies() -> str:
    """Accuracy against the latency of links."""
    return table_of(
        load("networks/link_latency")["latency"],
        {
            "links late by [ms]": lambda row: f"{row['delay_ms']:.0f}",
            "trained without the delay [%]": lambda row: percentage(row["without"]),
            "trained with it [%]": lambda row: percentage(row["with"]),
        },
    )


def draw_latencies() -> None:
    """Accuracy against the latency of links."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    rows = load("networks/link_latency")["latency"]
    series = {
        f"trained {name} the delay": [[100 * value for value in row[name]["values"]] for row in rows]
        for name in ("without", "with")
    }
    figure = accuracy_lines([row["delay_ms"] for row in rows], series, "latency of both links [ms]")
    save_figure("latency", figure)


def chips() -> str:
    """Predicted latency and power against the number of chips."""
    return table_of(
        load("networks/chips")["predicted"],
        {
            "chips": lambda row: str(row["chips"]),
            "in use": lambda row: str(row["in_use"]),
            "latency [ms]": lambda row: number(row["latency_us"] / 1e3),
            "keeps up with 1 ms a tick": lambda row: "yes" if row["keeps_up"] else "no",
            "power [W]": lambda row: number(row["power_w"], 0),
            "messages on the path": lambda row: str(row["messages_of_the_path"]),
        },
    )


def processes() -> str:
    """Predicted and measured latency of processes."""
    return table_of(
        load("networks/chips")["processes"],
        {
            "chips": lambda row: str(row["chips"]),
            "processes in use": lambda row: str(row["in_use"]),
            "predicted [s]": lambda row: number(row["predicted_s"], 3),
            "measured [s]": lambda row: with_spread(row["measured_s"], 3),
            "measured later by [%]": lambda row: with_spread(row["off_percent"]),
        },
    )


def draw_chips() -> None:
    """Predicted and measured latency of slow chips."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    rows = load("networks/chips")["processes"]
    series = {
        "predicted": [row["predicted_s"] for row in rows],
        "measured": [row["measured_s"]["values"] for row in rows],
    }
    save_figure("chips", accuracy_lines([row["chips"] for row in rows], series, "chips", "latency [s]"))


def chips_verdict() -> tuple[str, str]:
    """Claim and verdict about chips."""
    rows = load("networks/chips")["processes"]
    error = max(abs(row["off_percent"]["mean"]) for row in rows)
    return (
        "Many chips",
        f"{'yes' if error < 10 else 'partly'}: predicted latency within {error:.1f} % of that of up to "
        f"{rows[-1]['in_use']} processes whose compute times are waits; no hardware was used",
    )


def parts_verdict() -> tuple[str, str]:
    """Claim and verdict about parts."""
    rows = load("networks/many_parts")["graphs"]
    cost = {row["parts"]: row["whole_us"] / row["parts"] for row in rows if row["shape"] == "chain"}
    return "Many parts", f"yes: a part costs {cost[8]:.1f} µs a tick among 8 parts, {cost[256]:.1f} µs among 256"


TABLES = {"parts": graphs, "clocks": clocks, "latencies": latencies, "chips": chips, "processes": processes}
FIGURES = (draw_latencies, draw_chips)
