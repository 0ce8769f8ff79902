from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pi_dagster.simulator import Fault, FaultKind
from pi_dagster.simulator.selected_fields import SelectedFields
from pi_dagster_tests.planted_archive import FLOW, READ_ALL, TIES, VALVE_TAG, planted, server_web_id, web_id


def test_only_the_listed_fields_of_recorded_values_are_sent() -> None:
    with planted() as pi:
        body = pi.json(
            f"streams/{web_id(FLOW)}/recorded", **READ_ALL, maxCount=1, selectedFields="items.timestamp;Items.Value"
        )
    assert body == {"Items": [{"Timestamp": "2024-06-15T10:00:00Z", "Value": 0.0}]}


def test_only_the_listed_fields_of_a_streamset_are_sent() -> None:
    fields = "Items.WebId;Items.Items.Value;Links.Next"
    with planted() as pi:
        ids = [web_id(FLOW), web_id(TIES)]
        body = pi.json(
            "streamsets/recorded", **READ_ALL, webId=ids, webIdType="IDOnly", maxCount=1, selectedFields=fields
        )
    assert body == {
        "Links": {},
        "Items": [{"WebId": ids[0], "Items": [{"Value": 0.0}]}, {"WebId": ids[1], "Items": [{"Value": 0.0}]}],
    }


def test_values_nobody_selected_are_not_sent() -> None:
    with planted() as pi:
        body = pi.json("streamsets/recorded", **READ_ALL, webId=web_id(FLOW), selectedFields="Items.Name")
    assert body == {"Items": [{"Name": FLOW.name}]}


def test_a_part_of_a_value_can_be_selected() -> None:
    with planted() as pi:
        body = pi.json(
            "streamsets/recorded", **READ_ALL, webId=web_id(VALVE_TAG), selectedFields="Items.Items.Value.Name"
        )
    assert body == {"Items": [{"Items": [{"Value": {"Name": "Closed"}}, {"Value": {"Name": "Shutdown"}}]}]}


def test_a_single_value_is_selected_from_like_a_list() -> None:
    with planted() as pi:
        assert pi.json(f"streams/{web_id(FLOW)}/value", selectedFields="Value") == {"Value": 119.0}
        body = pi.json("streamsets/value", webId=web_id(FLOW), selectedFields="Items.Value.Value")
    assert body == {"Items": [{"Value": {"Value": 119.0}}]}


def test_the_link_to_the_next_page_is_gone_unless_it_is_listed() -> None:
    with planted() as pi:
        path = f"dataservers/{server_web_id()}/points"
        assert "Links" not in pi.json(path, maxCount=1, selectedFields="Items.Name")
        assert "Next" in pi.json(path, maxCount=1, selectedFields="Items.Name;Links.Next")["Links"]


def test_whether_a_web_exception_can_be_hidden_is_a_switch() -> None:
    for hidden in (False, True):
        with planted(selected_fields_drop_web_exception=hidden) as pi:
            pi.running.faults.add(Fault(kind=FaultKind.WEB_EXCEPTION))
            body = pi.json(f"streams/{web_id(FLOW)}/recorded", selectedFields="Items.Value")
            assert ("WebException" in body) is not hidden
            listed = pi.json(f"streams/{web_id(FLOW)}/recorded", selectedFields="Items.Value;WebException")
            assert "WebException" in listed


names = st.sampled_from(["A", "B", "C"])
trees = st.recursive(
    st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)
paths = st.lists(names, min_size=1, max_size=3)


@given(trees, st.lists(paths, max_size=3))
def test_pruning_keeps_exactly_the_leaves_below_a_selected_path(tree: object, selected: list[list[str]]) -> None:
    fields = SelectedFields.parse(";".join(".".join(path) for path in selected))

    def leaves(node: object, at: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
        if isinstance(node, dict):
            return [leaf for name, child in node.items() for leaf in leaves(child, (*at, name))]
        if isinstance(node, list):
            return [leaf for child in node for leaf in leaves(child, at)]
        return [(at, node)]

    def is_selected(at: tuple[str, ...]) -> bool:
        return not selected or any(at[: len(path)] == tuple(path) for path in selected)

    expected = [(at, leaf) for at, leaf in leaves(tree) if is_selected(at) or not at]
    kept = [(at, leaf) for at, leaf in leaves(fields.prune(tree)) if is_selected(at) or not at]
    assert kept == expected
