package bench

// ServerFigures are what a node says of itself over a run.
type ServerFigures struct {
	ResidentMiB float64 `json:"resident_mib"` // at the end
	CPUSeconds  float64 `json:"cpu_s"`        // spent during the run
	Snapshots   int64   `json:"snapshots"`    // taken during the run
	Entries     int64   `json:"log_entries"`  // applied during the run
}

func serverFigures(before, after map[string]float64) *ServerFigures {
	if after == nil {
		return nil
	}
	return &ServerFigures{
		ResidentMiB: after["process_resident_memory_bytes"] / (1 << 20),
		CPUSeconds:  after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"],
		Snapshots:   int64(after["usher_group_snapshots_total"] - before["usher_group_snapshots_total"]),
		Entries:     int64(after["usher_group_entries_total"] - before["usher_group_entries_total"]),
	}
}
