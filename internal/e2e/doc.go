// Package e2e tests the pages in a real Chromium against real nodes: what a buyer and
// an operator see and do, with the network and the nodes failing on the way. It is a
// module of its own, so that driving a browser is no dependency of Usher. `make e2e`
// runs it and renews the pictures in docs/images.
package e2e
