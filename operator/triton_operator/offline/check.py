"""All checks of all objects: what ``validate`` says, and what must be empty for ``render``."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from triton_operator import names
from triton_operator.offline.across import check_scope
from triton_operator.offline.documents import Document
from triton_operator.offline.findings import Finding, Report, in_order
from triton_operator.offline.scope import Scope, build_scope
from triton_operator.offline.single import KINDS, check_object, is_ours


@dataclass(frozen=True)
class Checked:
    """What was found, and the objects that it was found in."""

    report: Report
    scopes: tuple[Scope, ...]


def check(
    scopes: Iterable[Sequence[Document]], *, namespace: str = "default", strict: bool = False
) -> Checked:
    """Check objects; those in one scope would be in a cluster together.

    Parameters
    ----------
    scopes
        The objects, of all kinds.
    namespace
        The namespace of objects that name none.
    strict
        Whether everything that a model refers to must be in its scope.

    """
    findings: list[Finding] = []
    built: list[Scope] = []
    counts = dict.fromkeys(KINDS, 0)
    passed_over = 0
    for documents in scopes:
        ours = [document for document in documents if is_ours(document)]
        passed_over += len(documents) - len(ours)
        for document in ours:
            findings += check_object(document)
            counts[document.kind] = counts.get(document.kind, 0) + 1
        scope = build_scope((each for each in ours if each.kind in KINDS), namespace)
        findings += check_scope(scope, strict=strict)
        built.append(scope)
    report = Report(
        findings=in_order(findings),
        models=counts[names.KIND_MODEL],
        servers=counts[names.KIND_SERVER],
        passed_over=passed_over,
    )
    return Checked(report, tuple(built))
