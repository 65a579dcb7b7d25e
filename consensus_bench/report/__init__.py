"""From a run's folder to what people read: data frames, figures, HTML, Markdown, the terminal."""

from consensus_bench.report.load import Run as Run
from consensus_bench.report.load import load as load
from consensus_bench.report.terminal import print_summary as print_summary
from consensus_bench.report.writing import write_comparison as write_comparison
from consensus_bench.report.writing import write_report as write_report
