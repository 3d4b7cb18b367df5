/* ring-device PATH: be the device of the ring in a file (a memfd's /proc/PID/fd/N) that is mapped here. */
#include "ring.h"
#include "vfio.h"

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	int fd = open(argv[1], O_RDWR);
	if (fd < 0)
		die(argv[1]);
	void *ring = mmap(NULL, sizeof(struct ring), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ring == MAP_FAILED)
		die("mmap");
	ring_device(ring);
	return 0;
}
