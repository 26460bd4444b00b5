# Sentries on Google Cloud: a managed group over a region's zones. An instance joins by the identity token of the metadata server,
# and leaves by its shutdown script.

locals {
  prefix = "${var.name}-${var.pool}"
}

# Vouches for the instances, and may do nothing: no role is bound to it.
resource "google_service_account" "this" {
  project      = var.project
  account_id   = "${substr(local.prefix, 0, 22)}-sentry"
  display_name = "Picket sentries ${local.prefix}; without any permission"
}

resource "google_compute_region_instance_template" "this" {
  project      = var.project
  region       = var.region
  name_prefix  = "${local.prefix}-"
  machine_type = var.machine_type
  tags         = [local.prefix]
  labels       = var.labels

  disk {
    source_image = var.image
    boot         = true
    auto_delete  = true
  }

  network_interface {
    network    = var.network
    subnetwork = var.subnetwork

    # Validators dial each sentry's own public address.
    access_config {}
  }

  service_account {
    email = google_service_account.this.email
    # The scope is no permission: the account has none.
    scopes = ["cloud-platform"]
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  scheduling {
    provisioning_model          = var.spot ? "SPOT" : "STANDARD"
    preemptible                 = var.spot
    automatic_restart           = !var.spot
    instance_termination_action = var.spot ? "DELETE" : null
  }

  metadata = {
    enable-oslogin         = "TRUE"
    block-project-ssh-keys = "TRUE"
    startup-script = templatefile("${path.module}/templates/startup.sh.tftpl", {
      prefix      = local.prefix
      controller  = var.controller_url
      fingerprint = var.ca_fingerprint
      health_port = var.health_port
    })
    shutdown-script = file("${path.module}/templates/shutdown.sh")
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_region_instance_group_manager" "this" {
  project            = var.project
  region             = var.region
  name               = local.prefix
  base_instance_name = local.prefix
  # Where sizes are a range, the autoscaler decides.
  target_size = var.sizes.min == var.sizes.max ? var.sizes.min : null

  version {
    instance_template = google_compute_region_instance_template.this.self_link
  }

  # First a new sentry, then an old one goes.
  update_policy {
    type                         = "PROACTIVE"
    minimal_action               = "REPLACE"
    instance_redistribution_type = "PROACTIVE"
    # No fewer than the region has zones, and none has more than four.
    max_surge_fixed       = 4
    max_unavailable_fixed = 0
  }

  # One that is not ready is made anew: its identity, and so its place in the mesh, goes with it.
  auto_healing_policies {
    health_check      = google_compute_health_check.this.self_link
    initial_delay_sec = var.grace_seconds
  }
}

resource "google_compute_health_check" "this" {
  project             = var.project
  name                = local.prefix
  description         = "Picket sentry: firewall and tunnels are in force"
  check_interval_sec  = 10
  timeout_sec         = 5
  healthy_threshold   = 2
  unhealthy_threshold = 6

  http_health_check {
    port         = var.health_port
    request_path = "/ready"
  }
}

resource "google_compute_region_autoscaler" "this" {
  count = var.sizes.min == var.sizes.max ? 0 : 1

  project = var.project
  region  = var.region
  name    = local.prefix
  target  = google_compute_region_instance_group_manager.this.self_link

  autoscaling_policy {
    min_replicas = var.sizes.min
    max_replicas = var.sizes.max
    # Until a new sentry has joined and carries its share.
    cooldown_period = 120

    cpu_utilization {
      target = var.cpu_percent / 100
    }

    # Each sentry that goes breaks the connections through it.
    scale_in_control {
      time_window_sec = 600

      max_scaled_in_replicas {
        fixed = 1
      }
    }
  }
}

resource "google_compute_firewall" "health" {
  project   = var.project
  name      = "${local.prefix}-health"
  network   = var.network
  direction = "INGRESS"
  # Whence Google's health checks come (Google Cloud, "Probe IP ranges").
  source_ranges = ["35.191.0.0/16", "130.211.0.0/22"]
  target_tags   = [local.prefix]

  allow {
    protocol = "tcp"
    ports    = [tostring(var.health_port)]
  }
}

resource "google_compute_firewall" "p2p" {
  project       = var.project
  name          = "${local.prefix}-p2p"
  network       = var.network
  direction     = "INGRESS"
  source_ranges = var.p2p_networks
  target_tags   = [local.prefix]

  allow {
    protocol = "tcp"
    ports    = ["7100"]
  }
}

resource "google_compute_firewall" "wireguard" {
  project       = var.project
  name          = "${local.prefix}-wireguard"
  network       = var.network
  direction     = "INGRESS"
  source_ranges = var.wireguard_networks
  target_tags   = [local.prefix]

  allow {
    protocol = "udp"
    ports    = ["51820"]
  }
}
