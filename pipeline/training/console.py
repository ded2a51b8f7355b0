"""The training on the console: a bar with loss, scores and the time left; plain lines where nobody watches."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.training.loop import Trainer
from pipeline.training.state import Progress as TrainingProgress
from pipeline.training.watch import Watch

SCORES = {"val_miou": "mIoU", "val_mask_ap": "mask AP"}  # as the reader knows them


class ConsoleWatch(Watch):
    """A bar on a terminal; a line per epoch elsewhere (a log file, a flow)."""

    def __init__(self, name: str):
        self.name = name
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[scores]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.scores = "mIoU   -  "

    def __enter__(self):
        self.bar.__enter__()
        return self

    def __exit__(self, *error):
        self.bar.__exit__(*error)

    def started(self, trainer: Trainer, progress: TrainingProgress) -> None:
        self.epochs, self.steps_per_epoch = trainer.epochs, trainer.steps_per_epoch
        if progress.is_finished:
            self.console.print(
                f"{self.name}: already trained under this key; its checkpoint gives the outputs", highlight=False
            )
        elif progress.step:
            self.console.print(
                f"{self.name}: goes on at step {progress.step} of {self._total}, from its checkpoint", highlight=False
            )
        self.task = self.bar.add_task(self.name, total=self._total, completed=progress.step, scores="")

    @property
    def _total(self) -> int:
        return self.epochs * self.steps_per_epoch

    def stepped(self, progress: TrainingProgress) -> None:
        loss = sum(progress.sums.values()) / max(progress.seen, 1)
        epoch = f"epoch {progress.epoch + 1}/{self.epochs}"
        self.bar.update(self.task, completed=progress.step, scores=f"{epoch}  loss {loss:.3f}  {self.scores}")

    def epoch_ended(self, progress: TrainingProgress) -> None:
        row = progress.history[-1]
        self.scores = ", ".join(f"{shown} {row[name]:.3f}" for name, shown in SCORES.items() if name in row)
        best = f"{progress.best_score:.3f} (epoch {progress.best_epoch})"
        if not self.console.is_terminal:
            per_epoch_s = progress.elapsed_s / progress.epoch
            left = "" if progress.is_finished else f", about {per_epoch_s * (self.epochs - progress.epoch):.0f} s left"
            self.console.print(
                f"{self.name}: epoch {progress.epoch}/{self.epochs}: loss {row['train_loss']:.3f}, "
                f"val loss {row['val_loss']:.3f}, val {self.scores}, best {best}{left}",
                highlight=False,
                soft_wrap=True,
            )
