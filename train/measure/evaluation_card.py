"""The model card: what the model is for, what it was measured on, and where it fails, in Markdown.

After Mitchell et al., "Model cards for model reporting" (FAT* 2019), from the very figures of `metrics.json`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from screen.decide import expected
from screen.evaluation.metrics import Figure
from screen.model import ModelCard
from train.measure.evaluation import BORNE_OUT, COMBINED, HEADLINE, READERS, Comparison, Evaluation

INTENDED_USE = (
    "Research use only, not for clinical use. Orders frontal chest radiographs of adults by how likely they "
    "show a mass or nodule, for a reader who looks at all of them."
)
_PREVALENCES = (0.005, 0.02)
"""Of screening and of a clinic's films, for the table of what to expect."""

_LIMITS = """\
- Labels of NIH ChestX-ray14 are text-mined from reports; readers confirm 65 to 80 % of them. Only JSRT's were
  confirmed by CT, and it is small.
- Labels that other films confirm: a label with the finding counts if the film before or after has it too, one
  without it if no other film of the patient has it. Such labels are more often right. Such films are also
  easier: what is found again and again is seldom small.
- Frontal films of adults: no children, no lateral views, no other body parts. A film that is not flagged
  proves no healthy chest: one finding is looked for.
- Films were 8-bit pictures of few hospitals. Other detectors, other people and other prevalences need a
  calibration of their own (`screen train calibrate`).
- A probability is right on average for films like those it was calibrated on, not for a single patient.
- The heat map says where the score comes from. It is no outline of a lesion, and often points elsewhere."""


def model_card(evaluation: Evaluation, model: ModelCard | None) -> str:
    """The whole card. model: of the file that was made, if it is there already."""
    title = f"{model.name} {model.version}" if model else evaluation.shipped.name
    parts = [
        f"# Model card: {title}",
        model.intended_use if model else INTENDED_USE,
        *_section("Model", _model(model) if model else []),
        *_section("Measured on", _data(evaluation)),
        *_section("How good it is", _headline(evaluation)),
        *_section("Calibration", _calibration(evaluation)),
        *_section("Operating points", _points(evaluation)),
        *_section("Slices", _slices(evaluation)),
        *_section("Where the heat map points", _pointing(evaluation)),
        *_section("Few labels", _efficiency(evaluation)),
        *_section("Other recipes", _recipes(evaluation)),
        *_section("Limits", [_LIMITS]),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, parts: Iterable[str]) -> Iterator[str]:
    """Nothing at all if there is nothing to say."""
    said = [part for part in parts if part]
    if said:
        yield f"## {title}"
        yield from said


def _model(model: ModelCard) -> Iterator[str]:
    spec = model.preprocess
    yield _table(
        ("", ""),
        [
            ("weights", f"`{model.weights_digest}`"),
            ("input", f"one film, {spec.size} × {spec.size}, CLAHE {spec.clahe_clip:g}; padded, not cropped"),
            ("findings", ", ".join(finding.name for finding in model.findings)),
            ("precision", model.precision),
            *((key.replace("_", " "), str(value)) for key, value in sorted(model.training.items())
              if isinstance(value, str | int | float) and value != ""),
        ],
    )  # fmt: skip


def _data(evaluation: Evaluation) -> Iterator[str]:
    cohort, recipe, films = evaluation.cohort, evaluation.shipped, evaluation.films
    folds, seeds = len(np.unique(recipe.folds[:, films])), len(recipe.seeds)
    yield (
        f"{len(films):,} films of {len(np.unique(cohort.patients[films])):,} patients, "
        f"{int(cohort.labels[films].sum()):,} with {evaluation.finding}; {_count(folds, 'fold')} by patient, "
        f"{_count(seeds, 'seed')}: every score is from a network that was trained without that patient. "
        "Intervals are 95 %."
    )
    if missing := int((~recipe.covered).sum()):
        yield f"{missing:,} labelled films of the tables have no prediction and are left out."
    lines = []
    for source in np.unique(cohort.sources[films]):
        of_source = films[cohort.sources[films] == source]
        licences = sorted(set(cohort.licences[of_source]) - {""})
        lines.append(
            (
                source or "–",
                f"{len(of_source):,}",
                f"{int(cohort.labels[of_source].sum()):,}",
                f"{len(np.unique(cohort.patients[of_source])):,}",
                "; ".join(licences) or "–",
            )
        )
    yield _table(("source", "films", f"with {evaluation.finding}", "patients", "licence"), lines)


def _headline(evaluation: Evaluation) -> Iterator[str]:
    figures = evaluation.figures[evaluation.shipped.name]
    known = any(figure.name == READERS for figure in figures)
    names = {
        HEADLINE: f"AUC, pairs within one source{', labels mined from reports' if known else ''}",
        READERS: "AUC, pairs within one source, what radiologists saw and talked over",
        "auc_majority": "the same, the majority of three who did not",
        "auc_agreed": "the same, films on which both agree",
        COMBINED: "the mean of the readers', the confirmed labels' and other hospitals' AUC",
        "auc_within_source_and_fold": "AUC, pairs within one source and fold (one network's scores alone)",
        BORNE_OUT: "AUC, pairs within one source, only labels that the patient's other films confirm",
        "auc_pooled": "AUC, all films pooled (the source helps here)",
        "sensitivity_at_specificity_90": "sensitivity at 90 % specificity",
        "sensitivity_at_specificity_95": "sensitivity at 95 % specificity",
    }
    headline = READERS if known else HEADLINE
    names[headline] = f"**{names[headline]}**"
    lines = []
    # The headline stands first.
    for figure in sorted(figures, key=lambda figure: figure.name != headline or bool(figure.group)):
        if figure.name == HEADLINE and figure.group.startswith("seed") and len(evaluation.shipped.seeds) > 1:
            lines.append((f"the same, {figure.group}", *_cells(figure)))
        elif not figure.group and figure.name in names:
            lines.append((names[figure.name], *_cells(figure)))
        elif not figure.group and figure.name.startswith("auc_"):
            lines.append((f"AUC on {figure.name.removeprefix('auc_')} alone", *_cells(figure)))
    yield (
        "The headline counts only pairs of a film with and a film without the finding from one collection, "
        "since the collection alone predicts the label. Seeds are averaged figure by figure."
    )
    yield _table(("figure", "value", "films", f"with {evaluation.finding}"), lines)


def _calibration(evaluation: Evaluation) -> Iterator[str]:
    calibration = evaluation.calibration
    yield (
        f"probability = sigmoid({calibration.slope:.4f} · logit {calibration.intercept:+.4f}), at a "
        f"prevalence of {calibration.prevalence:.1%}. Its quality is measured on each fold by the line of "
        "the others. Drawing patients makes the calibration error larger; its interval is centred again."
    )
    names = {
        "calibration_error": "expected calibration error (10 bins of equal mass)",
        "brier": "Brier score",
        "brier_skill": "Brier skill over always saying the prevalence",
        "calibration_slope": "slope (1 is right)",
        "calibration_intercept": "intercept (0 is right)",
    }
    yield _table(
        ("figure", "value", "films", f"with {evaluation.finding}"),
        [(text, *_cells(evaluation.figure(name), 3)) for name, text in names.items()],
    )


def _points(evaluation: Evaluation) -> Iterator[str]:
    calibration = evaluation.calibration
    lines = []
    for point in calibration.operating_points:
        outlook = []
        for prevalence in (calibration.prevalence, *_PREVALENCES):
            found = expected(point, prevalence)
            outlook.append(f"{found.flags:.0f}, {found.ppv:.1%}" if found else "–")
        default = " (default)" if point.name == calibration.default_operating_point else ""
        lines.append(
            (
                f"`{point.name}`{default}",
                f"{point.threshold:.4f}",
                _share(point.sensitivity, point.sensitivity_interval),
                _share(point.specificity, point.specificity_interval),
                *outlook,
            )
        )
    prevalences = [f"at {p:.1%}" for p in (calibration.prevalence, *_PREVALENCES)]
    yield _table(
        ("operating point", "threshold", "sensitivity", "specificity", *prevalences),
        lines,
    )
    yield (
        "The last columns say how many of 1,000 films are flagged, and how many of those rightly, at that "
        f"share of films with the finding. Measured on {calibration.operating_points[0].measured_on}; "
        "intervals are Wilson's with patients as trials."
    )
    yield (
        f"`{calibration.default_operating_point}` is the default. It weighs missed and false findings about "
        "equally. Another prevalence moves probabilities and thresholds together: the same films are "
        "flagged, in the same order."
    )


def _slices(evaluation: Evaluation) -> Iterator[str]:
    figures = [
        f for f in evaluation.figures[evaluation.shipped.name] if f.group and not f.group.startswith("seed")
    ]
    if figures:
        yield "AUC, pairs of one source in each slice; by label basis against all films of the other label."
        yield _table(
            ("slice", "AUC", "films", f"with {evaluation.finding}"),
            [(figure.group, *_cells(figure)) for figure in figures],
        )


def _pointing(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.pointing:
        return
    x, y = evaluation.fixed_point
    yield (
        "Boxed films with the finding: how often the heat map's highest place lies in a reader's box, beside "
        "the share of the film that boxes cover (chance), and beside the one fixed place that hits most of "
        f"them, ({x:.2f}, {y:.2f}), chosen with the answers in view. Sizes are sides on a 1,024-pixel film."
    )
    yield _table(
        ("films", "n", "hit rate", "chance", "fixed place"),
        [
            (
                group.group,
                str(group.films),
                _share(group.hit, group.interval),
                f"{group.chance:.2f}",
                f"{group.fixed_point:.2f}",
            )
            for group in evaluation.pointing
        ],
    )


def _efficiency(evaluation: Evaluation) -> Iterator[str]:
    points = evaluation.efficiency
    if not points:
        return
    yield "The headline after fine-tuning with the labels of a share of the patients."
    yield _table(
        ("start", "patients with labels", "AUC within source", "films", f"with {evaluation.finding}"),
        [(point.start, f"{100 * point.share:g} %", *_cells(point.figure)) for point in points],
    )
    names = {point.name for point in points}
    yield _differences([c for c in evaluation.comparisons if {c.recipe, c.other} <= names])


def _recipes(evaluation: Evaluation) -> Iterator[str]:
    others = evaluation.recipes[1:]
    if not others:
        return
    yield "Same folds, same films; one ingredient or start differs, as the name says."
    yield _table(
        ("recipe", "AUC within source", "films", f"with {evaluation.finding}"),
        [(recipe.name, *_cells(evaluation.figures[recipe.name][0])) for recipe in evaluation.recipes],
    )
    names = {recipe.name for recipe in others}
    yield _differences([c for c in evaluation.comparisons if c.other in names])


def _differences(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    return _table(
        ("paired difference", "figure", "value", "films", "excludes 0"),
        [
            (
                f"{c.recipe} − {c.other}",
                c.figure,
                f"{c.difference:+.3f} [{c.low:+.3f}, {c.high:+.3f}]",
                f"{c.films:,}",
                "yes" if c.excludes_zero else "no",
            )
            for c in comparisons
        ],
    )


def _cells(figure: Figure, digits: int = 2) -> tuple[str, str, str]:
    value = figure.note
    if not math.isnan(figure.value):
        value = f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
    return value, f"{figure.films:,}", f"{figure.positives:,}"


def _share(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def _count(number: int, one: str) -> str:
    return f"{number} {one}" if number == 1 else f"{number} {one}s"


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([row(columns), "|" + "---|" * len(columns), *map(row, lines)])
