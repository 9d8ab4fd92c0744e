package explain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
)

// addPod adds the pod of a manifest, which is a pod or a workload. A workload is an object
// with a pod template where Deployment, DaemonSet, StatefulSet, ReplicaSet, Job or CronJob
// have it. This includes custom resources. Other objects are ignored. It returns an error
// if the pod or the workload has no name.
func (m *Manifests) addPod(d document, namespace string) error {
	var pod document
	switch {
	case d.text("kind") == "Pod" && d.text("apiVersion") == "v1":
		pod = d
	case podTemplate(d) != nil:
		pod = podFromTemplate(podTemplate(d), d)
	default:
		return nil
	}
	metadata := d.object("metadata")
	name := cmp.Or(metadata.text("name"), metadata.text("generateName"))
	if name == "" {
		return fmt.Errorf("%s has no metadata.name", d.text("kind"))
	}
	encoded, err := json.Marshal(pod)
	if err != nil {
		return err
	}
	m.Pods = append(m.Pods, Pod{From: d.text("kind") + " " + namespace + "/" + name, Namespace: namespace, Document: encoded})
	return nil
}

// podTemplate returns the pod template of a workload, or nil.
func podTemplate(d document) document {
	spec := d.object("spec")
	for _, holder := range []document{spec, spec.object("jobTemplate").object("spec")} {
		template := holder.object("template")
		if _, ok := template.object("spec")["containers"].([]any); ok {
			return template
		}
	}
	return nil
}

// podFromTemplate returns a pod like that of the workload's controller. The pod of a
// StatefulSet has a fixed name. Others have a generateName, from which the API server
// generates the name.
func podFromTemplate(template, workload document) document {
	metadata := maps.Clone(template.object("metadata"))
	if metadata == nil {
		metadata = document{}
	}
	of := workload.object("metadata")
	if namespace := of.text("namespace"); namespace != "" {
		metadata["namespace"] = namespace
	}
	name := cmp.Or(of.text("name"), of.text("generateName"))
	delete(metadata, "name")
	if workload.text("kind") == "StatefulSet" {
		metadata["name"] = name + "-0"
	} else {
		metadata["generateName"] = name + "-"
	}
	// object() only accepts map[string]any, not the named type document.
	return document{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any(metadata), "spec": map[string]any(template.object("spec")),
	}
}
