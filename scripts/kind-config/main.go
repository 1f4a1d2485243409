// Reads a configuration of kind as kind itself does, strictly, and judges it by kind's own rules. Prints what kind would make:
// the cluster's name, then the role and the image of each node. Built by scripts/tools.py inside kind's module, because kind
// keeps these packages to itself.
package main

import (
	"fmt"
	"os"

	"sigs.k8s.io/kind/pkg/internal/apis/config/encoding"
)

func main() {
	cluster, err := encoding.Load(os.Args[1])
	if err == nil {
		err = cluster.Validate()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(cluster.Name)
	for _, node := range cluster.Nodes {
		fmt.Println(node.Role, node.Image)
	}
}
