"""Uncertain and unknown relations, and functionals that a unit approximates."""

from research.pages.claims.results import load, number, percentage, save_figure, with_spread
from research.pages.made_page import table, table_of

DECODERS = ("Bayes", "learned", "learned, 200 samples", "designed")


def channels() -> str:
    """Accuracy of each decoder along the noise."""
    rows = [
        (row["code"], f"{row['level']:g}", *(percentage(row[name]) for name in DECODERS))
        for row in load("units/noisy_channel")["rows"]
    ]
    return table(("code", "noise L", *(f"{name} [%]" for name in DECODERS)), rows)


def draw_channels() -> None:
    """Accuracy of each decoder of a latency along the noise."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    rows = [row for row in load("units/noisy_channel")["rows"] if row["code"] == "latency"]
    series = {name: [[100 * value for value in row[name]["values"]] for row in rows] for name in DECODERS}
    figure = accuracy_lines([row["level"] for row in rows], series, "noise L, latency code")
    figure.axes[0].set(xscale="log")
    save_figure("noisy-channel", figure)


def periods() -> str:
    """Errors and exponents of the units that learn Kepler's law."""
    return table_of(
        load("units/orbits")["rows"],
        {
            "unit": lambda row: row["unit"],
            "error between radii [%]": lambda row: with_spread(row["between_percent"]),
            "error beyond radii [%]": lambda row: with_spread(row["beyond_percent"]),
            "exponent (true: 1.5)": lambda row: with_spread(row["exponent"], 2),
        },
    )


def approximations() -> str:
    """Errors against the size of a unit, and slopes."""
    return table_of(
        load("units/approximation")["rows"],
        {
            "target": lambda row: row["target"],
            "kernels": lambda row: row["kernel"],
            "size": lambda row: f"{row['axis']} {', '.join(map(str, row['sizes']))}",
            "errors": lambda row: ", ".join(number(error["mean"], 3) for error in row["errors"]),
            "slope of the logarithms": lambda row: number(row["slope"]),
        },
    )


def twins() -> str:
    """Errors of networks of equal size."""
    results = load("units/approximation")
    networks = list(dict.fromkeys(row["network"] for row in results["twins"]))
    targets = list(dict.fromkeys(row["target"] for row in results["twins"]))
    errors = {(row["target"], row["network"]): row["error"] for row in results["twins"]}
    least = results["best"]
    rows = [
        (
            target,
            *(with_spread(errors[target, network], 3) for network in networks),
            number(least[target], 3) if target in least else "0",
        )
        for target in targets
    ]

    return table(("target", *networks, "least possible"), rows)


def draw_approximation() -> None:
    """Errors against the number of kernels."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    rows = load("units/approximation")["rows"]
    rows = [row for row in rows if row["axis"] == "kernels" and row["kernel"] == "exponentials"]
    series = {row["target"]: [error["values"] for error in row["errors"]] for row in rows}
    figure = accuracy_lines(rows[0]["sizes"], series, "exponential kernels", "error, relative")
    figure.axes[0].set(xscale="log", yscale="log")
    save_figure("approximation", figure)


def uncertain_verdict() -> tuple[str, str]:
    """Claim and verdict about uncertain relations."""
    rows = {row["level"]: row for row in load("units/noisy_channel")["rows"] if row["code"] == "rate"}

    def accuracy(decoder: str, level: float) -> str:
        return percentage(rows[level][decoder])

    return (
        "Learned units are better where relations are uncertain",
        f"yes, beyond a crossing point: a rate code at little noise, learned {accuracy('learned', 0.02)} %, designed "
        f"{accuracy('designed', 0.02)} %; at much, {accuracy('learned', 0.5)} % and {accuracy('designed', 0.5)} %",
    )


def unknown_verdict() -> tuple[str, str]:
    """Claim and verdict about unknown relations."""
    learned = next(row for row in load("units/orbits")["rows"] if row["unit"] == "learned")
    return (
        "Learned units find unknown relations",
        f"between trained cases: Kepler's exponent of 1.5 as {with_spread(learned['exponent'], 2)}; not beyond them",
    )


def approximation_verdict() -> tuple[str, str]:
    """Claim and verdict about functionals."""
    rows = load("units/approximation")["rows"]
    slopes = {(row["target"], row["kernel"]): row["slope"] for row in rows if row["axis"] == "width"}
    return (
        "Kernel and nonlinearity approximate any functional",
        f"partly: errors fall with taps and width (slope {slopes['exclusive-or', 'taps']:.1f} on an exclusive-or); "
        f"exponential kernels do not learn that one (slope {abs(slopes['exclusive-or', 'exponentials']):.1f})",
    )


TABLES = {"channels": channels, "periods": periods, "approximations": approximations, "twins": twins}
FIGURES = (draw_channels, draw_approximation)
