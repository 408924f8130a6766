"""What to expect of a night: flags, and their positive predictive value, at a prevalence."""

from dataclasses import dataclass

from screen.model_card import OperatingPoint

FILMS = 1000


@dataclass(frozen=True, slots=True)
class Expected:
    """Of 1,000 films. Ranges go from the one end of the measured intervals to the other.

    prevalence: share of films with the finding. flags: flagged films. ppv: share of them with the finding.
    """

    prevalence: float
    flags: float
    flags_range: tuple[float, float]
    ppv: float
    ppv_range: tuple[float, float]


def expected(point: OperatingPoint | None, prevalence: float) -> Expected | None:
    """By Bayes' rule; None where nothing was measured (a bare threshold, an unmeasured point).

    prevalence: that of the calibration in force. Right for films like those that the point was measured on.
    """
    if point is None or point.sensitivity_interval == point.specificity_interval == (0.0, 1.0):
        return None
    (low_sensitivity, high_sensitivity) = point.sensitivity_interval
    (low_specificity, high_specificity) = point.specificity_interval
    flags, ppv = _at(point.sensitivity, point.specificity, prevalence)
    return Expected(
        prevalence=prevalence,
        flags=flags,
        flags_range=(
            _at(low_sensitivity, high_specificity, prevalence)[0],
            _at(high_sensitivity, low_specificity, prevalence)[0],
        ),
        ppv=ppv,
        ppv_range=(
            _at(low_sensitivity, low_specificity, prevalence)[1],
            _at(high_sensitivity, high_specificity, prevalence)[1],
        ),
    )


def _at(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """Flags of 1,000 films, and their positive predictive value (0 where nothing is flagged)."""
    right = sensitivity * prevalence
    share = right + (1 - specificity) * (1 - prevalence)
    return FILMS * share, right / share if share else 0.0
