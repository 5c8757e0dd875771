"""How a run is executed: in one process, which sleeps while its next op waits for a pool."""

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.definitions.executor_definition import (
    IN_PROC_CONFIG,
    _core_in_process_executor_creation,
)
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.context.system import PlanExecutionContext, PlanOrchestrationContext
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import inner_plan_execution_iterator
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.executor.in_process import InProcessExecutor
from dagster._utils.timing import time_execution_scope

#: Between two looks whether the pool lets the op in; each is a few questions of Dagster's storage.
#: Dagster would look less and less often, in the end every 15 s.
SECONDS = 1.0


class Pools(InstanceConcurrencyContext):
    """The pools that the ops of a run wait for.

    Dagster (1.13) says that there is nothing to wait for until the next look, whenever that is: a
    process whose only op waits then asks again and again, and takes a whole processor for it.
    """

    def claim(self, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        """Whether the op may begin."""
        if super().claim(concurrency_key, step_key, step_priority):
            return True
        soon = time.time() + SECONDS
        self._pending_timeouts[step_key] = min(soon, self._pending_timeouts[step_key])
        return False

    def interval_to_next_pending_claim_check(self) -> float:
        """Seconds until the next look; 0 if it is due."""
        now = time.time()
        return max(0.0, min((due - now for due in self._pending_timeouts.values()), default=0.0))


def _in_process(
    job_context: PlanExecutionContext, execution_plan: ExecutionPlan
) -> Iterator[DagsterEvent]:
    with Pools(job_context.instance, job_context.dagster_run) as pools:
        yield from inner_plan_execution_iterator(job_context, execution_plan, pools)


@contextmanager
def _seldom_looking_for_garbage() -> Iterator[None]:
    """Leaves alone what is loaded when a run begins, and lets more come together than usual.

    Python looks through all objects as they become more, and those of a run of years do: it was a
    seventh of what two years of five objects took of the processor.
    """
    as_usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*as_usual)
        gc.unfreeze()


class OneProcess(InProcessExecutor):
    """Dagster's executor of one process, with these pools."""

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        """Executes the steps of a run, one after the other."""
        here = EngineEventData.in_process(os.getpid(), execution_plan.step_keys_to_execute)
        yield DagsterEvent.engine_event(
            plan_context, f"Executing steps in process (pid: {os.getpid()})", here
        )
        with time_execution_scope() as took, _seldom_looking_for_garbage():
            yield from ExecuteRunWithPlanIterable(
                execution_plan=plan_context.execution_plan,
                iterator=_in_process,
                execution_context_manager=PlanExecutionContextManager(
                    job=plan_context.job,
                    retry_mode=plan_context.retry_mode,
                    execution_plan=plan_context.execution_plan,
                    run_config=plan_context.run_config,
                    dagster_run=plan_context.dagster_run,
                    instance=plan_context.instance,
                    raise_on_error=plan_context.raise_on_error,
                    output_capture=plan_context.output_capture,
                    step_dependency_config=self.step_dependency_config,
                ),
            )
        yield DagsterEvent.engine_event(
            plan_context,
            f"Finished steps in process (pid: {os.getpid()}) in {took.millis / 1000:.2f}s",
            here,
        )


@dg.executor(name="in_process", config_schema=IN_PROC_CONFIG)
def one_process(context: dg.InitExecutorContext) -> OneProcess:
    """`dg.in_process_executor`, of which a run that waits for a pool takes no processor."""
    configured = _core_in_process_executor_creation(context.executor_config)
    return OneProcess(configured.retries, configured.step_dependency_config)
