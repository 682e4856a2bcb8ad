"""The copy of the cluster that passes read."""

from typing import Any

from triton_operator import names
from triton_operator.adapters.mirror import Mirror, servers_of
from triton_operator.observed import AUTOSCALER

Body = dict[str, Any]


def model(
    name: str, version: int = 1, *, on: str | None = None, uid: str = "u", **more: Any
) -> Body:
    return {
        "kind": names.KIND_MODEL,
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": uid,
            "resourceVersion": str(version),
        },
        "spec": {"serverRef": {"name": on}} if on else {},
    } | more


def pod(name: str, server: str | None, version: int = 1) -> Body:
    labels = {names.LABEL_SERVER: server} if server else {}
    meta = {"name": name, "namespace": "team", "labels": labels, "resourceVersion": str(version)}
    return {"kind": "Pod", "metadata": meta}


def autoscaler(target: str, version: int = 1, *, kind: str = "Deployment", **more: Any) -> Body:
    api = "apps/v1" if kind != names.KIND_SERVER else names.API_VERSION
    reference = {"apiVersion": api, "kind": kind, "name": target}
    return {
        "kind": AUTOSCALER,
        "metadata": {
            "name": "hpa",
            "namespace": "team",
            "uid": "h",
            "resourceVersion": str(version),
            "annotations": {"large": "x" * 1000},
        },
        "spec": {"scaleTargetRef": reference, "maxReplicas": 3},
    } | more


def of(mirror: Mirror, server: str, namespace: str = "team") -> list[str]:
    return [body["metadata"]["name"] for body in mirror.of_server(namespace, server)]


def known(mirror: Mirror, name: str) -> int | None:
    body = mirror.get(names.KIND_MODEL, "team", name)
    return int(body["metadata"]["resourceVersion"]) if body else None


def test_what_is_older_than_what_is_known_is_ignored() -> None:
    mirror = Mirror()
    assert mirror.put(model("a", 9))

    assert not mirror.put(model("a", 8, on="vision"))
    assert known(mirror, "a") == 9
    assert of(mirror, "vision") == []

    assert mirror.put(model("a", 10, on="vision"))
    assert known(mirror, "a") == 10


def test_versions_are_numbers() -> None:
    mirror = Mirror()
    mirror.put(model("a", 9))

    assert mirror.put(model("a", 10, on="vision"))
    assert not mirror.put(model("a", 9))


def test_a_status_of_ours_is_stored_but_is_no_news() -> None:
    mirror = Mirror()
    mirror.put(model("a", 1))

    assert not mirror.put(model("a", 2, status={"x": 1}))
    assert mirror.get(names.KIND_MODEL, "team", "a")["status"] == {"x": 1}
    assert mirror.put(model("a", 3, on="vision"))


def test_the_status_of_what_others_run_is_news() -> None:
    mirror = Mirror()
    mirror.put(pod("p", "vision", 1))

    assert mirror.put(pod("p", "vision", 2) | {"status": {"phase": "Running"}})
    assert not mirror.put(pod("p", "vision", 3) | {"status": {"phase": "Running"}})


def test_an_object_is_found_by_the_server_that_it_is_of() -> None:
    mirror = Mirror()
    for body in (model("a", on="vision"), model("vision"), pod("p", "vision"), pod("q", None)):
        mirror.put(body)

    assert of(mirror, "vision") == ["p", "a", "vision"]
    assert of(mirror, "vision", "other") == []
    assert servers_of(pod("q", None)) == ()


def test_a_model_that_moves_leaves_its_old_server() -> None:
    mirror = Mirror()
    mirror.put(model("a", 1, on="vision"))
    mirror.put(model("a", 2, on="audio"))
    assert (of(mirror, "vision"), of(mirror, "audio")) == ([], ["a"])

    mirror.put(model("a", 3))
    assert (of(mirror, "audio"), of(mirror, "a")) == ([], ["a"])


def test_what_is_deleted_is_forgotten() -> None:
    mirror = Mirror()
    mirror.put(model("a", on="vision"))

    assert mirror.drop(model("a", 2, on="vision"))
    assert known(mirror, "a") is None
    assert of(mirror, "vision") == []
    assert not mirror.drop(model("a", 2))


def test_the_end_of_an_older_object_of_that_name_is_not_the_end_of_this_one() -> None:
    mirror = Mirror()
    mirror.put(model("a", 5, uid="new"))

    assert not mirror.drop(model("a", 4, uid="old"))
    assert known(mirror, "a") == 5


def test_a_new_object_of_the_same_name_takes_the_place() -> None:
    mirror = Mirror()
    mirror.put(model("a", 1, uid="old", on="vision"))

    assert mirror.put(model("a", 2, uid="new"))
    assert of(mirror, "vision") == []


def test_a_list_shows_what_a_broken_watch_has_missed() -> None:
    mirror = Mirror()
    for body in (
        model("gone", 1),
        model("stays", 2),
        model("again", 3, uid="old"),
        model("new", 9),
    ):
        mirror.put(body)
    mirror.put(pod("p", "vision", 1))
    listed = [model("stays", 2), model("again", 6, uid="new")]

    found = mirror.missing(names.KIND_MODEL, "", listed, 7)

    assert {body["metadata"]["name"] for body in found} == {"gone", "again"}
    assert mirror.missing(names.KIND_MODEL, "other", [], 99) == []
    assert len(mirror.missing(names.KIND_MODEL, "team", [], 99)) == 4


def test_managed_fields_are_not_kept() -> None:
    mirror = Mirror()
    body = model("a")
    body["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    mirror.put(body)

    assert "managedFields" not in mirror.get(names.KIND_MODEL, "team", "a")["metadata"]
    assert "managedFields" in body["metadata"]


def test_an_answer_that_the_deletion_has_outrun_brings_nothing_back() -> None:
    mirror = Mirror()
    mirror.put(model("a", 1))
    mirror.drop(model("a", 3))

    assert not mirror.put(model("a", 2))
    assert known(mirror, "a") is None
    assert mirror.put(model("a", 4, uid="new"))


def test_what_has_lost_our_label_is_known_again_when_it_has_it_back() -> None:
    mirror = Mirror()
    mirror.put(pod("p", "vision", 10))
    mirror.drop(pod("p", "vision", 11))

    assert not mirror.put(pod("p", "vision", 11))
    assert mirror.put(pod("p", "vision", 12))
    assert of(mirror, "vision") == ["p"]
    assert not mirror.put(pod("p", "vision", 10))
    mirror.drop(pod("p", "vision", 13))
    assert not mirror.put(pod("p", "vision", 12))


def test_an_answer_brings_nothing_back_either_that_a_list_has_shown_to_be_gone() -> None:
    mirror = Mirror()
    mirror.put(model("a", 1))
    (gone,) = mirror.missing(names.KIND_MODEL, "", [], 7)
    mirror.drop(gone)

    assert not mirror.put(model("a", 7))
    assert mirror.put(model("a", 8))


def test_the_news_of_a_deletion_counts_though_its_object_is_forgotten_already() -> None:
    mirror = Mirror()
    mirror.put(model("a", 1))
    mirror.drop(model("a", 1))  # the API server says that it is not found
    mirror.drop(model("a", 3))

    assert not mirror.put(model("a", 2))


def test_only_so_many_deletions_are_remembered() -> None:
    mirror = Mirror()
    for each in range(1001):
        mirror.put(model("a", 1, uid=str(each)))
        mirror.drop(model("a", 2, uid=str(each)))

    assert not mirror.put(model("a", 1, uid="1"))
    assert mirror.put(model("a", 1, uid="0"))


def test_an_autoscaler_is_found_by_the_server_that_it_scales() -> None:
    for kind in ("Deployment", names.KIND_SERVER):
        mirror = Mirror()
        assert mirror.put(autoscaler("vision", kind=kind))
        assert of(mirror, "vision") == ["hpa"]
        assert mirror.drop(autoscaler("vision", kind=kind))
        assert of(mirror, "vision") == []


def test_of_an_autoscaler_only_its_target_is_kept_and_news() -> None:
    mirror = Mirror()
    mirror.put(autoscaler("vision"))

    assert not mirror.put(autoscaler("vision", 2, status={"currentReplicas": 2}))
    kept = mirror.get(AUTOSCALER, "team", "hpa")
    assert kept is not None
    assert "status" not in kept
    assert "annotations" not in kept["metadata"]
    assert mirror.put(autoscaler("speech", 3))
    assert (of(mirror, "vision"), of(mirror, "speech")) == ([], ["hpa"])


def test_an_autoscaler_of_something_else_needs_no_memory() -> None:
    mirror = Mirror()
    assert not mirror.put(autoscaler("database", kind="StatefulSet"))
    assert mirror.get(AUTOSCALER, "team", "hpa") is None

    mirror.put(autoscaler("vision", 2))
    # It lets go of the server: that is news for who knew it.
    assert mirror.put(autoscaler("database", 3, kind="StatefulSet"))
    assert mirror.get(AUTOSCALER, "team", "hpa") is None


def test_a_server_has_nothing_of_its_namesake_in_another_namespace() -> None:
    mirror = Mirror()
    for body in (model("mine", on="vision"), model("theirs", on="vision"), pod("p", "vision")):
        if body["metadata"]["name"] != "mine":
            body["metadata"]["namespace"] = "other"
        mirror.put(body)

    assert of(mirror, "vision") == ["mine"]
    assert sorted(of(mirror, "vision", "other")) == ["p", "theirs"]
