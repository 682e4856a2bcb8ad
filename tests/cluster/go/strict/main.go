// strict reads manifests of other projects' kinds and fails at the first that their own Go types
// do not know: a field that does not exist, or a value of another type.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	helm "github.com/fluxcd/helm-controller/api/v2"
	kustomize "github.com/fluxcd/kustomize-controller/api/v1"
	source "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

func main() {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		helm.AddToScheme, kustomize.AddToScheme, source.AddToScheme, gateway.Install,
	} {
		if err := add(scheme); err != nil {
			log.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewDocumentDecoder(os.Stdin)
	for buffer := make([]byte, 1<<20); ; {
		n, err := documents.Read(buffer)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		_, kind, err := decoder.Decode(buffer[:n], nil, nil)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(kind.Kind)
	}
}
