# SPDX-License-Identifier: Apache-2.0
"""Convert an archive: every recording by itself, whatever happens to the others; what was done before is skipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from nucleus_bridge.archive.executors import Workplace
from nucleus_bridge.archive.output import Output
from nucleus_bridge.archive.result import DONE, FAILED, SKIPPED, BagResult
from nucleus_bridge.archive.tasks import Task, TaskRunner
from nucleus_bridge.archive.work import Failure, Job, Made, Plan, Settings, convert_or_plan, render_chunk
from nucleus_bridge.errors import BridgeError, InputError
from nucleus_bridge.pipeline.losses import Table, merge, ordered
from nucleus_bridge.recordings import Place, marks_of
from nucleus_bridge.spool import conversions
from nucleus_bridge.spool.conversions import Conversion, each_once


@dataclass(eq=False)
class _InChunks:
    """A recording of which chunks are still to come."""

    bag: Place
    key: str
    plan: Plan | None = None
    made: dict[int, Made] = field(default_factory=dict)
    failure: Failure | None = None
    missing: int = 0


def convert_archive(
    bags: Sequence[Place], settings: Settings, output: Output, workplace: Workplace
) -> Iterator[BagResult]:
    """Yield the result of each recording as it is there.

    Args:
        bags: The recordings.
        settings: What holds for all of them.
        output: Where ``settings.output`` is.
        workplace: Where the work is done; not asked when there is none.

    Raises:
        OutputError: The output cannot be written to.
        UploadError: The object store of the output does not answer.
    """
    output.prepare()
    runner = TaskRunner(workplace)
    first: dict[str, Place] = {}
    for bag in bags:
        try:
            key = conversions.key(marks_of(bag), settings.config.conversion_digest, settings.config.scene.format)
        except InputError as error:
            yield BagResult(str(bag), FAILED, error=str(error), is_input_error=True)
            continue
        if first.setdefault(key, bag) is not bag:
            yield BagResult(str(bag), SKIPPED, Conversion(str(bag), ()), error=f"a copy of {first[key]}")
            continue
        found = None if settings.force or settings.verify_images else output.find(key)
        if found is not None:
            yield BagResult(str(bag), SKIPPED, found)
        else:
            runner.add(Task(convert_or_plan, Job(settings, bag.resolve(), key), _InChunks(bag, key)))
    for task, outcome in runner.results():
        state: _InChunks = task.owner
        if isinstance(outcome, Plan):
            state.plan, state.missing = outcome, outcome.chunks
            for number in reversed(range(outcome.chunks)):
                runner.add(Task(render_chunk, Job(settings, state.bag.resolve(), state.key, number), state), first=True)
        elif state.plan is None:
            yield _result(state.bag, outcome)
        elif (result := _after_chunk(state, task.argument.chunk, outcome, output)) is not None:
            yield result


def _after_chunk(state: _InChunks, chunk: int, outcome: object, output: Output) -> BagResult | None:
    """Take what came of a chunk; give the result of the recording with the last one."""
    state.missing -= 1
    if isinstance(outcome, Made):
        state.made[chunk] = outcome
    else:
        state.failure = state.failure or _failure(outcome)
    if state.missing or state.plan is None:
        return None
    if state.failure is not None:
        return _result(state.bag, state.failure)
    made = [state.made[number] for number in sorted(state.made)]
    whole = _joined(state.plan.conversion, [part.conversion for part in made])
    if not whole.scenes and not whole.lacks_room:
        return _result(state.bag, Failure(f"{state.bag}: no scene could be made: every cloud is empty", is_input=True))
    try:
        if not whole.lacks_room:
            output.note(state.key, whole)
            output.drop_parts(state.key)
    except (BridgeError, OSError) as error:
        return _result(state.bag, error)
    return _result(state.bag, Made(whole, tuple(name for part in made for name in part.new)))


def _joined(plan: Conversion, parts: Sequence[Conversion]) -> Conversion:
    """Put the chunks of a recording together."""
    losses: Table = {}
    reasons: dict[str, str] = {}
    for part in (plan, *parts):
        merge(losses, part.losses)
    for part in (plan, *parts):
        for cause, reason in part.reasons.items():
            reasons.setdefault(cause, reason)
    scenes = tuple(scene for part in parts for scene in part.scenes)
    findings = each_once(finding for part in (plan, *parts) for finding in part.findings)
    warnings = tuple(dict.fromkeys(warning for part in parts for warning in part.warnings))
    return replace(plan, scenes=scenes, losses=ordered(losses), reasons=reasons, warnings=warnings, findings=findings)


def _result(bag: Place, outcome: object) -> BagResult:
    if isinstance(outcome, Made):
        return BagResult(str(bag), DONE, outcome.conversion, frozenset(outcome.new))
    failure = _failure(outcome)
    return BagResult(str(bag), FAILED, error=failure.reason, is_input_error=failure.is_input)


def _failure(outcome: object) -> Failure:
    if isinstance(outcome, Failure):
        return outcome
    if isinstance(outcome, BridgeError):
        return Failure(str(outcome), isinstance(outcome, InputError))
    return Failure(f"unexpected {type(outcome).__name__}: {outcome}", is_input=False)
