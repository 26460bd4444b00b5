# The least that works: one region, no hooks, no validator's host, spot instances above the first two sentries. A sentry that goes
# says goodbye itself, or is found by its lease.

provider "aws" {
  region = var.region
}

module "network" {
  source = "../../modules/aws/network"

  name          = "picket"
  zones         = var.zones
  flow_log_days = 0
}

module "controller" {
  source = "../../modules/aws/controller"

  name                   = "picket"
  vpc_id                 = module.network.vpc_id
  subnet_id              = module.network.private_subnet_ids[var.zones[0]]
  balancer_subnet_ids    = { (var.zones[0]) = module.network.public_subnet_ids[var.zones[0]] }
  agents_prefix_list_ids = { all = module.network.prefix_list_ids["agents"] }
  ami_id                 = var.ami_id
  kms_key_arn            = module.network.kms_key_arn
  aws_certificates       = var.aws_certificates
  enroll                 = module.sentries[*].enroll_rule
  # Backups keep the CA: the one thing that is not saved on here.
  backup_days = 30
}

module "sentries" {
  source = "../../modules/aws/sentries"
  count  = var.ca_fingerprint == null ? 0 : 1

  name                      = "picket"
  vpc_id                    = module.network.vpc_id
  subnet_ids                = module.network.public_subnet_ids
  controller_url            = module.controller.url
  ca_fingerprint            = var.ca_fingerprint
  ami_id                    = var.ami_id
  kms_key_arn               = module.network.kms_key_arn
  wireguard_prefix_list_ids = { all = module.network.prefix_list_ids["wireguard"] }
  ports                     = { p2p = { port = 7100, prefix_list_ids = { all = module.network.prefix_list_ids["p2p"] } } }
  static_addresses          = false
  spot                      = { on_demand_base = 2, on_demand_percent = 0 }
}
