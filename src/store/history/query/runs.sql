-- The newest runs that fit. An absent parameter fits everything.
SELECT number, id, started, profile, tool, tool_commit, payload, cpu, kernel, kvm,
       project_commit, project_modified, project_branch, ended_early, inconclusive, folder
FROM run
WHERE (?1 IS NULL OR project_branch = ?1)
  AND (?2 IS NULL OR started >= ?2)
  AND (?3 IS NULL OR id = ?3)
  AND (?4 IS NULL AND ?5 IS NULL AND ?6 IS NULL OR EXISTS (
      SELECT 1 FROM estimate JOIN series ON series.number = estimate.series
      WHERE estimate.run = run.number
        AND (?4 IS NULL OR series.backend = ?4)
        AND (?5 IS NULL OR series.workload = ?5)
        AND (?6 IS NULL OR series.metric = ?6)))
ORDER BY started DESC, number DESC
LIMIT ?7
