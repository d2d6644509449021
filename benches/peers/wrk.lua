-- One JSON line at the end, for benches/run.
done = function(summary, latency, requests)
    local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
    io.write(string.format('{"count": %d, "last_s": %.6f, "refused": %d, "lost": %d, "p99_ms": %.3f}\n',
        summary.requests, summary.duration / 1e6, summary.errors.status, errors, latency:percentile(99) / 1e3))
end
