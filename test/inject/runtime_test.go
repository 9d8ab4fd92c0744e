package inject_test

import (
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// node is a model of mounts in a kubelet and container runtime on Linux. make e2e-cluster
// compares it with real ones. link is true for images whose /var/run is a symbolic link
// to /run.
type node struct{ link bool }

// started is the result for a container. sees maps each mount path of the container to the
// volume, and the path in it, that the container sees there.
type started struct {
	ok   bool
	sees func(path string) string
}

// contents maps the volumes of a pod to the names in them: directories, or files.
type contents map[string]map[string]bool

const isFile = true

// mountsOf returns the mounts of a container in the order of the runtime, by the number of
// elements in their paths.
func mountsOf(c *corev1.Container) []corev1.VolumeMount {
	mounts := slices.Clone(c.VolumeMounts)
	slices.SortStableFunc(mounts, func(a, b corev1.VolumeMount) int {
		return strings.Count(place(a.MountPath, false), "/") - strings.Count(place(b.MountPath, false), "/")
	})
	return mounts
}

// run starts the containers of a pod and returns the result for each. It returns nil if a
// volume of the pod cannot be created.
func (n node) run(pod *corev1.Pod) []started {
	volumes := contents{}
	all := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if volumes[v.Name] != nil {
			return nil // the API server rejects duplicate names
		}
		files := map[string]bool{}
		if v.Projected != nil {
			for _, source := range v.Projected.Sources {
				if source.ServiceAccountToken != nil {
					files[path.Clean("/"+source.ServiceAccountToken.Path)] = isFile
				}
				if source.DownwardAPI != nil {
					for _, item := range source.DownwardAPI.Items {
						files[path.Clean("/"+item.Path)] = isFile
					}
				}
			}
		}
		volumes[v.Name] = files
		if fromAPI(v) && !n.makeNested(v.Name, files, all) {
			return nil
		}
	}
	results := make([]started, 0, len(all))
	for i := range all {
		results = append(results, n.start(pod, &all[i], volumes))
	}
	return results
}

func fromAPI(v *corev1.Volume) bool {
	return v.Projected != nil || v.Secret != nil || v.ConfigMap != nil || v.DownwardAPI != nil
}

// makeNested creates directories in a volume for the mounts below it.
func (n node) makeNested(volume string, files map[string]bool, all []corev1.Container) bool {
	for i := range all {
		for _, m := range all[i].VolumeMounts {
			for _, other := range all[i].VolumeMounts {
				rest, found := strings.CutPrefix(path.Clean(other.MountPath), path.Clean(m.MountPath)+"/")
				if m.Name != volume || !found {
					continue
				}
				first, _, _ := strings.Cut(rest, "/")
				if strings.HasPrefix(first, "..") {
					return false
				}
				for file, kind := range files {
					if kind == isFile && (file == "/"+first || strings.HasPrefix(file, "/"+first+"/")) {
						return false // the directory would hide the file
					}
				}
				makeDirectories(files, "/"+rest)
			}
		}
	}
	return true
}

func makeDirectories(files map[string]bool, directory string) {
	for ; directory != "/"; directory = path.Dir(directory) {
		files[directory] = !isFile
	}
}

// mounted is an existing mount.
type mounted struct {
	at       string
	volume   string
	root     string
	file     bool
	writable bool
}

func (n node) start(pod *corev1.Pod, c *corev1.Container, volumes contents) started {
	var done []mounted
	find := func(where string) (mounted, string) {
		for _, m := range slices.Backward(done) {
			if rest, found := strings.CutPrefix(where, strings.TrimSuffix(m.at, "/")); found && (rest == "" || rest[0] == '/') {
				return m, path.Join(m.root, rest)
			}
		}
		return mounted{at: "/", writable: true}, where
	}
	follow := func(where string) string {
		if _, inVar := find("/var"); n.link && inVar == "/var" && (where == "/var/run" || strings.HasPrefix(where, "/var/run/")) {
			if m, _ := find("/var"); m.volume == "" {
				return strings.TrimPrefix(where, "/var")
			}
		}
		return where
	}
	root := map[string]bool{}
	for _, m := range mountsOf(c) {
		i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			return started{}
		}
		v := &pod.Spec.Volumes[i]
		at := follow(place(m.MountPath, false))
		if at == "/" {
			return started{}
		}
		fresh := mounted{at: at, volume: v.Name, root: path.Clean("/" + m.SubPath + m.SubPathExpr), writable: !m.ReadOnly && !fromAPI(v) && !readOnly(v)}
		fresh.file = isFileOnNode(v) || fromAPI(v) && fresh.root != "/"
		in, rest := find(at)
		files := root
		if in.volume != "" {
			files = volumes[in.volume]
		}
		kind, exists := files[rest]
		exists = exists || in.volume != "" && rest == in.root
		switch {
		case in.file, exists && kind != fresh.file, !exists && !in.writable:
			return started{}
		case !exists:
			for above := path.Dir(rest); above != "/"; above = path.Dir(above) {
				if files[above] == isFile {
					return started{}
				}
			}
			makeDirectories(files, path.Dir(rest))
			files[rest] = fresh.file
		}
		done = append(done, fresh)
	}
	for _, device := range c.VolumeDevices {
		at := follow(place(device.DevicePath, false))
		if at == "/" {
			return started{}
		}
		in, rest := find(at)
		_, exists := root[rest]
		if in.volume != "" && !in.writable || in.file || in.at == at && in.volume != "" || in.volume == "" && exists {
			return started{}
		}
	}
	return started{ok: true, sees: func(where string) string {
		m, rest := find(follow(place(where, false)))
		return m.volume + ":" + rest
	}}
}

func isFileOnNode(v *corev1.Volume) bool {
	return v.HostPath != nil && v.HostPath.Type != nil && slices.Contains([]corev1.HostPathType{
		corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev,
	}, *v.HostPath.Type)
}

func readOnly(v *corev1.Volume) bool {
	return v.Image != nil || v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly || v.CSI != nil && v.CSI.ReadOnly != nil && *v.CSI.ReadOnly
}

// checkStarts checks each container that starts without the webhook's mount. It must
// also start with the mount, see its own mounts as before, and find the token at the path
// in its variables. The fallback path must be used only if the usual path is blocked.
func (d *decision) checkStarts(t tester) {
	t.Helper()
	if d.result.Volume == "" || d.running || isWindows(d.before) {
		return
	}
	// Results are in the order of the lists; run starts with the init containers.
	reported := slices.Concat(d.result.Containers[len(d.before.Spec.Containers):], d.result.Containers[:len(d.before.Spec.Containers)])
	for _, n := range []node{{link: false}, {link: true}} {
		before, after := n.run(d.before), n.run(d.after)
		if slices.ContainsFunc(before, func(s started) bool { return !s.ok }) {
			continue // a container that does not start creates no directories for others
		}
		for i := range before {
			if !reported[i].Mounted {
				continue
			}
			c := &slices.Concat(d.after.Spec.InitContainers, d.after.Spec.Containers)[i]
			if after == nil || !after[i].ok {
				t.Errorf("container %q starts without the token but not with it (%+v): %+v", c.Name, n, c.VolumeMounts)
				continue
			}
			for _, m := range c.VolumeMounts[:len(c.VolumeMounts)-1] {
				if was, is := before[i].sees(m.MountPath), after[i].sees(m.MountPath); was != is {
					t.Errorf("container %q: got %s at %s before and %s after (%+v): %+v", c.Name, was, m.MountPath, is, n, c.VolumeMounts)
				}
			}
			file := d.expectedInjection("").file
			if got := after[i].sees(c.VolumeMounts[len(c.VolumeMounts)-1].MountPath + "/" + file); got != d.result.Volume+":/"+path.Clean(file) {
				t.Errorf("container %q: got %s at the path of the token (%+v): %+v", c.Name, got, n, c.VolumeMounts)
			}
		}
	}
	if d.id.TargetRoleARN != "" {
		return // one container's conflict moves the token of all containers
	}
	for i := range reported {
		switch reported[i].Reason {
		case inject.FallbackPath, inject.TokenPathTaken:
			d.checkBlocked(t, i, d.usualDir())
		default:
		}
	}
}

// checkBlocked checks that a container could not have the token in a directory. On some
// node it would not start or not see its mounts, or the API server would reject it. No other
// container has the token, so directories that are created for theirs do not count.
func (d *decision) checkBlocked(t tester, container int, directory string) {
	t.Helper()
	pod := d.before.DeepCopy()
	pod.Spec.Volumes = d.after.Spec.Volumes
	lists := [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers}
	list, at := lists[0], container
	if at >= len(lists[0]) {
		list, at = lists[1], at-len(lists[0])
	}
	c := &list[at]
	all := slices.Concat(d.before.Spec.InitContainers, d.before.Spec.Containers)
	own := slices.Clone(all[container].VolumeMounts)
	for _, m := range own {
		// The directory may also exist by chance in a volume of another container.
		for i := range all {
			if i != container && slices.ContainsFunc(all[i].VolumeMounts, func(other corev1.VolumeMount) bool { return other.Name == m.Name }) {
				return
			}
		}
		if place(m.MountPath, false) == place(directory, false) {
			return
		}
	}
	c.VolumeMounts = append(own, corev1.VolumeMount{Name: d.result.Volume, MountPath: directory, ReadOnly: true})
	for _, n := range []node{{link: false}, {link: true}} {
		before, after := n.run(d.before), n.run(pod)
		if before == nil || after == nil || !before[container].ok || !after[container].ok {
			return
		}
		if file := d.expectedInjection("").file; after[container].sees(directory+"/"+file) != d.result.Volume+":/"+file {
			return
		}
		for _, m := range own {
			was := before[container].sees(m.MountPath)
			if was != after[container].sees(m.MountPath) || was != m.Name+":"+path.Clean("/"+m.SubPath) {
				return // or the mount was already hidden
			}
		}
	}
	t.Errorf("container %q could have the token at %s: %+v", c.Name, directory, own)
}

// TestMounts_aboveTokenPath generates pods whose mounts are near the path of the token.
func TestMounts_aboveTokenPath(t *testing.T) {
	check(t, func(t *rapid.T) {
		d, c := randomCase(t)
		checkProperties(t, d.podOfMounts(), c.Identity(), c.Settings.Inject())
	})
}

// podOfMounts returns a random pod that an API server accepts. Either each container has
// its own volumes, of any kind, or all have the same directories at the same paths,
// read-only or not. The webhook does not handle other ways to share volumes.
func (d *podGenerator) podOfMounts() []byte {
	volumes := []any{}
	share := d.oneInTwo("shared volumes")
	mounts := func(name string) []any {
		drawn := []any{}
		taken := map[string]bool{}
		for i := range rapid.IntRange(1, 3).Draw(d.T, "mounts") {
			at := d.parent()
			// Of two mounts at one place, one is hidden. Real pods do not have that.
			real := withoutRun(at)
			if taken[real] {
				continue
			}
			taken[real] = true
			// In a container with the token, a mount below the token creates its directory in the
			// token's volume. It then creates none in the shared volume above for other
			// containers: the user of such a volume creates the directory.
			if share && strings.HasPrefix(real, withoutRun(d.directory())+"/") {
				continue
			}
			mount := map[string]any{"name": fmt.Sprintf("%s-%d", name, i), "mountPath": at, "readOnly": d.oneInTwo("read-only")}
			volume := map[string]any{"name": mount["name"], "emptyDir": map[string]any{}}
			if !share {
				volume = d.userVolume(fmt.Sprint(mount["name"]))
			}
			if d.oneInTen("subPath") {
				mount["subPath"] = "part"
			}
			drawn, volumes = append(drawn, mount), append(volumes, volume)
		}
		return drawn
	}
	var shared []any
	if share {
		shared = mounts("shared")
	}
	containers := func(kind string) []any {
		list := []any{}
		for i := range rapid.IntRange(0, 2).Draw(d.T, kind) {
			name := fmt.Sprintf("%s-%d", kind, i)
			own := []any{}
			for _, m := range shared {
				if d.oneInTwo("mounted") {
					mount := maps.Clone(m.(map[string]any))
					mount["readOnly"] = d.oneInTwo("read-only")
					own = append(own, mount)
				}
			}
			if !share {
				own = mounts(name)
			}
			list = append(list, map[string]any{"name": name, "image": image, "volumeMounts": own})
		}
		return list
	}
	spec := map[string]any{"serviceAccountName": "app", "initContainers": containers("init"), "containers": containers("app")}
	spec["volumes"] = volumes
	return d.encode(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "app"}, "spec": spec})
}

// withoutRun returns a path relative to /run, if it is below /run or /var/run, which are the
// same directory in most images.
func withoutRun(mountPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(place(mountPath, false), "/var/run"), "/run")
}

// userVolume returns a random volume of one of the kinds that differ for mounts.
func (d *podGenerator) userVolume(name string) map[string]any {
	kind := d.oneOf("kind", "emptyDir", "emptyDir", "secret", "configMap", "downwardAPI", "projected", "hostPath", "file", "image", "claim", "claim read-only", "csi", "csi read-only", "ephemeral")
	sources := map[string]map[string]any{
		"emptyDir": {"emptyDir": map[string]any{}}, "secret": {"secret": map[string]any{"secretName": "s"}},
		"configMap": {"configMap": map[string]any{"name": "c"}}, "downwardAPI": {"downwardAPI": map[string]any{"items": []any{}}},
		"projected": {"projected": map[string]any{"sources": []any{}}},
		"hostPath":  {"hostPath": map[string]any{"path": "/srv"}}, "file": {"hostPath": map[string]any{"path": "/srv/file", "type": "File"}},
		"image": {"image": map[string]any{"reference": image}}, "claim": {"persistentVolumeClaim": map[string]any{"claimName": "c"}},
		"claim read-only": {"persistentVolumeClaim": map[string]any{"claimName": "c", "readOnly": true}},
		"csi":             {"csi": map[string]any{"driver": "d"}}, "csi read-only": {"csi": map[string]any{"driver": "d", "readOnly": true}},
		"ephemeral": {"ephemeral": map[string]any{}},
	}
	volume := map[string]any{"name": name}
	maps.Copy(volume, sources[kind])
	return volume
}

// parent returns a random path above, at, below or near the token's.
func (d *podGenerator) parent() string {
	directory := path.Clean(d.directory())
	paths := []string{"/data", directory, directory + "/data", directory + "/" + d.file(), directory + "/" + d.file() + "/x", directory + "s", "/eks.amazonaws.com", d.settings.FallbackMountPath}
	for above := path.Dir(directory); above != "/"; above = path.Dir(above) {
		paths = append(paths, above, above)
	}
	for _, p := range slices.Clone(paths) {
		if rest, found := strings.CutPrefix(p, "/var/run"); found {
			paths = append(paths, "/run"+rest)
		}
	}
	at := d.oneOf("path", append(paths, "/run")...)
	return d.oneOf("spelling", at, at, at, at+"/", at[1:], "/."+at)
}

// TestCheckStarts_detectsFaults checks that the model does not accept all pods.
func TestCheckStarts_detectsFaults(t *testing.T) {
	readOnlyDirectory := corev1.Volume{Name: "run", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	secret := corev1.Volume{Name: "run", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}}
	token := corev1.Volume{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}}
	for _, test := range []struct {
		name   string
		volume corev1.Volume
		mount  corev1.VolumeMount
		want   [2]bool // without the link, with it
	}{
		{"a read-only emptyDir at /var/run", readOnlyDirectory, corev1.VolumeMount{MountPath: "/var/run", ReadOnly: true}, [2]bool{false, false}},
		{"a read-only emptyDir at /run", readOnlyDirectory, corev1.VolumeMount{MountPath: "/run", ReadOnly: true}, [2]bool{true, false}},
		{"a writable emptyDir at /run", readOnlyDirectory, corev1.VolumeMount{MountPath: "/run"}, [2]bool{true, true}},
		{"a Secret at /var/run/secrets", secret, corev1.VolumeMount{MountPath: "/var/run/secrets"}, [2]bool{true, true}},
		{"a Secret at /run/secrets", secret, corev1.VolumeMount{MountPath: "/run/secrets"}, [2]bool{true, false}},
		{"a part of a Secret at /var/run/secrets", secret, corev1.VolumeMount{MountPath: "/var/run/secrets", SubPath: "x"}, [2]bool{false, false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.mount.Name = "run"
			pod := &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{test.volume, token}, Containers: []corev1.Container{{
				VolumeMounts: []corev1.VolumeMount{test.mount, {Name: "token", MountPath: "/var/run/secrets/eks.amazonaws.com/serviceaccount", ReadOnly: true}},
			}}}}
			got := [2]bool{node{link: false}.run(pod)[0].ok, node{link: true}.run(pod)[0].ok}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
