package postgres

import (
	"fmt"
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
func HugePages() (ok bool, release func(), err error) {
	before, err := hugePages()
	if err != nil {
		return false, nil, err
	}
	if before >= pagesWanted {
		return true, func() {}, nil
	}
	if err := setHugePages(pagesWanted); err != nil {
		return false, func() {}, nil
	}
	// The kernel gives as many as it finds.
	have, err := hugePages()
	release = func() { _ = setHugePages(before) } // pages that stay are only memory
	return have >= pagesWanted, release, err
}

func hugePages() (int, error) {
	text, err := os.ReadFile(pagesFile)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", pagesFile, err)
	}
	return n, nil
}

func setHugePages(n int) error {
	return os.WriteFile(pagesFile, []byte(strconv.Itoa(n)), 0)
}
