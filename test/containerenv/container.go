// Package containerenv runs programs like a container of a pod. A program gets only the
// stored environment and the files of the projected volumes. The package writes these
// files as the kubelet does.
//
// There is no container file system. A volume is written to its mount path on this
// machine, so a test uses a directory of its own as the webhook's mount path. Other
// mounts are ignored.
package containerenv

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Container is the first container of a pod.
type Container struct {
	// Env is the environment as NAME=value.
	Env []string
	// Directory is the mount path of the volume.
	Directory string
}

// New returns the first container of a stored pod and writes the files of the volume that
// the container mounts at directory.
func New(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, directory string) (*Container, error) {
	c := &Container{Directory: directory}
	for _, variable := range pod.Spec.Containers[0].Env {
		if variable.ValueFrom != nil {
			return nil, fmt.Errorf("variable %s of pod %s has a valueFrom, which containerenv does not support", variable.Name, pod.Name)
		}
		c.Env = append(c.Env, variable.Name+"="+variable.Value)
	}
	volume, err := mountedAt(pod, directory)
	if err != nil {
		return nil, err
	}
	for _, source := range volume.Sources {
		if err := project(ctx, client, pod, source, directory); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func mountedAt(pod *corev1.Pod, directory string) (*corev1.ProjectedVolumeSource, error) {
	for _, mount := range pod.Spec.Containers[0].VolumeMounts {
		if mount.MountPath != directory {
			continue
		}
		for _, volume := range pod.Spec.Volumes {
			if volume.Name == mount.Name && volume.Projected != nil {
				return volume.Projected, nil
			}
		}
	}
	return nil, fmt.Errorf("pod %s mounts no projected volume at %s", pod.Name, directory)
}

func project(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, source corev1.VolumeProjection, directory string) error {
	files := map[string]string{}
	if token := source.ServiceAccountToken; token != nil {
		minted, err := client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName,
			&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
				Audiences: []string{token.Audience}, ExpirationSeconds: token.ExpirationSeconds,
				BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
			}}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("request token of pod %s: %w", pod.Name, err)
		}
		files[token.Path] = minted.Status.Token
	}
	if source.DownwardAPI != nil {
		for _, item := range source.DownwardAPI.Items {
			key, isAnnotation := strings.CutPrefix(item.FieldRef.FieldPath, "metadata.annotations['")
			if !isAnnotation {
				return fmt.Errorf("volume of pod %s: field %s is not supported", pod.Name, item.FieldRef.FieldPath)
			}
			files[item.Path] = pod.Annotations[strings.TrimSuffix(key, "']")]
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Run runs a program and returns its standard output. image has the variables of the
// container's image, as NAME=value. HOME and the working directory are an empty
// directory, so that the program finds no files of the user. It returns an error with
// the program's standard error if the exit code is not 0.
func (c *Container) Run(ctx context.Context, image []string, program string, args ...string) ([]byte, error) {
	home, err := os.MkdirTemp("", "container-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(home) }()
	command := exec.CommandContext(ctx, program, args...) //nolint:gosec // to run what the test says is the point
	command.Env = slices.Concat([]string{"HOME=" + home}, image, c.Env)
	command.Dir = home
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s: %w: %s", filepath.Base(program), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
