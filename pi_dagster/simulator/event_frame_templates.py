"""The event frame templates of the plant that the simulator makes up, and those of the SKAB experiments.

A stoppage, an unplanned one derived from it, a batch, and a value out of its range: numbers with units, texts, times,
yes and no, states, a hidden and a nested attribute.
"""

from __future__ import annotations

from pi_dagster.simulator.af_model import AttributeTemplate, ElementTemplate, EnumerationSet, EnumerationValue
from pi_dagster.simulator.files import Experiment

SHIFTS = EnumerationSet("Shift", tuple(map(EnumerationValue, ("Früh", "Spät", "Nacht"), range(3))))
REASONS = EnumerationSet(
    "Stop Reason",
    (EnumerationValue("Mechanical", 10), EnumerationValue("Electrical", 20), EnumerationValue("Other", 99)),
)
EVENT_FRAME_SETS = (SHIFTS, REASONS)

EVENT_FRAME_CATEGORIES = ("Production", "Maintenance")

_DOWNTIME = ElementTemplate(
    name="Downtime",
    description="Equipment that should run stands still",
    instance_type="EventFrame",
    category_names=("Maintenance",),
    severity="Warning",
    can_be_acknowledged=True,
    naming_pattern="%ELEMENT% %TEMPLATE% %STARTTIME%",
    attributes=(
        AttributeTemplate(name="Lost Production", units="metric ton", units_abbreviation="t", span=500.0),
        AttributeTemplate(name="Reason", value_type="EnumerationValue", type_qualifier=REASONS.name),
        AttributeTemplate(name="Comment", value_type="String"),
        AttributeTemplate(name="Shift", value_type="EnumerationValue", type_qualifier=SHIFTS.name),
    ),
)

EVENT_FRAME_TEMPLATES = (
    _DOWNTIME,
    ElementTemplate(
        name="Unplanned Downtime",
        base=_DOWNTIME.name,
        instance_type="EventFrame",
        category_names=("Maintenance",),
        severity="Major",
        can_be_acknowledged=True,
        attributes=(AttributeTemplate(name="Trips", value_type="Int32", span=5.0),),
    ),
    ElementTemplate(
        name="Batch",
        instance_type="EventFrame",
        category_names=("Production",),
        attributes=(
            AttributeTemplate(name="Yield", units="percent", units_abbreviation="%"),
            AttributeTemplate(name="Is Rework", value_type="Boolean"),
            AttributeTemplate(name="Released", value_type="DateTime"),
            AttributeTemplate(name="Recipe", value_type="String", is_hidden=True),
        ),
    ),
    ElementTemplate(
        name="Excursion",
        instance_type="EventFrame",
        severity="Minor",
        can_be_acknowledged=True,
        attributes=(
            AttributeTemplate(
                name="Peak",
                units="bar",
                units_abbreviation="bar",
                span=160.0,
                children=(AttributeTemplate(name="At", value_type="DateTime"),),
            ),
        ),
    ),
)

EXPERIMENT = ElementTemplate(
    name="Experiment",
    description="One recording of the pump loop; rows are labelled by the experimenters",
    instance_type="EventFrame",
    attributes=(
        AttributeTemplate(name="File", value_type="String"),
        AttributeTemplate(name="Rows", value_type="Int32"),
        AttributeTemplate(name="Anomaly Rows", value_type="Int32"),
        AttributeTemplate(name="Changepoint Rows", value_type="Int32"),
        AttributeTemplate(name="First Anomaly", value_type="DateTime"),
    ),
)


def experiment_templates(experiments: tuple[Experiment, ...]) -> list[ElementTemplate]:
    """The template of experiments, and one derived from it for each folder of them."""
    folders = sorted({experiment.folder for experiment in experiments})
    derived = (ElementTemplate(name=name, base=EXPERIMENT.name, instance_type="EventFrame") for name in folders)
    return [EXPERIMENT, *derived]
