package postgres

import (
	"os"
	"strconv"
	"strings"
)

const (
	// pagesFile is how many huge pages the kernel keeps for who asks for them.
	pagesFile = "/proc/sys/vm/nr_hugepages"
	// pagesWanted, of 2 MiB, have room for shared_buffers and what comes with them.
	pagesWanted = 640
)

// HugePages has the kernel keep huge pages for PostgreSQL's shared memory until
// release is called, which root may ask for. 32 processes that each map 1 GiB in
// pages of 4 KiB spend much of a hold on page faults, so that without them there is
// half as much to measure. It reports whether there are enough.
func HugePages() (enough bool, release func()) {
	before := hugePages()
	if before >= pagesWanted || setHugePages(pagesWanted) != nil {
		return before >= pagesWanted, func() {}
	}
	// The kernel gives as many as it finds. Those that stay in the end are only memory.
	return hugePages() >= pagesWanted, func() { _ = setHugePages(before) }
}

// hugePages is how many there are; 0 if the system does not say.
func hugePages() int {
	text, err := os.ReadFile(pagesFile)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}

func setHugePages(n int) error {
	return os.WriteFile(pagesFile, []byte(strconv.Itoa(n)), 0)
}
