output "enroll_rule" {
  description = "Whom the controller lets in by proof: instances of this project that run as this group's service account and bear its name."
  value = {
    name          = local.prefix
    proof         = "gcp"
    account       = var.project
    claims        = { email = google_service_account.this.email }
    instance_name = "${local.prefix}-*"
    role          = "sentry"
    names         = "${local.prefix}-*"
    pool          = var.pool
    max_nodes     = var.sizes.max * 2
  }
}

output "service_account" {
  description = "Service account of the instances; no role is bound to it."
  value       = google_service_account.this.email
}

output "instance_group" {
  description = "The managed group."
  value       = google_compute_region_instance_group_manager.this.instance_group
}
